# rfcn_r101-caffe in miniature: no weight is applied to a region, and there are
# 3 x 3 bins, not rounded to cells, for objects that are a few cells wide. The
# stages behind stride 16 are left out: dilated, they see more than an object.
_base_ = 'faster-rcnn_mobilenetv2.py'

model = dict(
    roi_head=dict(
        type='RFCNRoIHead',
        bbox_roi_extractor=dict(
            _delete_=True,
            type='PSRoIExtractor',
            roi_layer=dict(type='PSRoIAlign', output_size=3, sampling_ratio=2),
            featmap_stride=16),
        bbox_head=dict(_delete_=True, type='RFCNBBoxHead', in_channels=96,
                       conv_out_channels=256, roi_feat_size=3)))
