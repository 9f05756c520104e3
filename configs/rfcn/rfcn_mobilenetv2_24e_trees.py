# The design of rfcn_r101-caffe in miniature: the last stages dilated and over
# the whole map, 3 x 3 bins for crowns that are a few cells wide.
_base_ = '../faster_rcnn/faster-rcnn_mobilenetv2_24e_trees.py'
pretrained = {{_base_.pretrained}}

model = dict(
    roi_head=dict(
        type='RFCNRoIHead',
        shared_head=dict(
            type='MobileNetV2Layer',
            init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
        bbox_roi_extractor=dict(
            _delete_=True,
            type='PSRoIExtractor',
            roi_layer=dict(
                type='PSRoIAlign', output_size=3, sampling_ratio=2),
            featmap_stride=16),
        bbox_head=dict(
            _delete_=True,
            type='RFCNBBoxHead',
            in_channels=320,
            conv_out_channels=256,
            roi_feat_size=3,
            num_classes=1)))
