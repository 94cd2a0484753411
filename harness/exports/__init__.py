"""The predictions of a run in the formats of other tools: COCO, CVAT, Label Studio, FiftyOne and the hub."""
