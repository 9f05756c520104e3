"""What is measured, under the names that tables give it."""

# Average precisions, over IoU 0.5 to 0.95 where none is named.
AP_NAMES = ('AP', 'AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L')
# How many proposals the second stage is given in turn.
PROPOSAL_NUMBERS = (10, 20, 30, 50, 100, 300, 1000)
# At how many proposals their recall is given.
RECALL_NUMBERS = (10, 30, 100, 300, 1000)
AREAS = ('all', 'small', 'medium', 'large')

# What tools/test.py calls a few of them, of the detector and of its proposals.
COLUMNS = {
    'AP': 'coco/bbox_mAP',
    'AP50': 'coco/bbox_mAP_50',
    'AR@10': 'proposal/AR@10',
    'AR@30': 'proposal/AR@30',
    'AR@100': 'proposal/AR@100',
}
# Of tools/test.py, to test the first stage of a two-stage detector alone.
PROPOSAL_OPTIONS = [
    'model.type=RPN',
    'test_evaluator.type=ProposalMetric',
    'custom_imports.imports=[mmdet_klrpn]',
]
