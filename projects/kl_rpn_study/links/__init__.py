"""The links from proposals to detections, each measured on its own."""
