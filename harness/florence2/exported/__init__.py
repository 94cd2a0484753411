"""The network as three graphs, exported once and computed by ONNX Runtime, OpenVINO or torch.compile."""
