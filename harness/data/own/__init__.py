"""A user's own data set: readers of the formats of annotation tools, and the official files that they become.

yolo.py voc.py labelme.py csv.py jsonl.py coco.py     a reader each: a folder or a file to a `Content`
looking.py                                            the images: missing, sizes, equal content in two splits
writing.py                                            a `Content` to official files, which the tasks' readers read
dataset.py                                            `dataset.toml`, which names all of this
"""
