"""Columns of a table, and how those of the proposals are measured."""

# Metrics of the detector, then of its proposals alone.
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
