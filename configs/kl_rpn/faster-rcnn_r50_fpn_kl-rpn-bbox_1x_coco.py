# Detections have standard deviations too, which tests check and pictures show.
_base_ = 'faster-rcnn_r50_fpn_kl-rpn_1x_coco.py'
model = dict(roi_head=dict(bbox_head=dict(type='KLBBoxHead')))
val_evaluator = dict(type='StdCocoMetric')
test_evaluator = dict(type='StdCocoMetric')
visualizer = dict(type='StdDetLocalVisualizer')
