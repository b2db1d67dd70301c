"""Small ONNX files of the kinds that other tools write, each with what `lsuv` makes of them."""
