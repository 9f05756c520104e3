"""Objects and detections, made without a model."""

import numpy as np


def make_scene():
    """Ground truth of two categories and detections near it, as COCO."""
    generator = np.random.default_rng(3)
    truth = dict(
        images=[dict(id=10 * i, width=300, height=300) for i in range(1, 7)],
        categories=[dict(id=3, name='tree'), dict(id=8, name='bush')],
        annotations=[],
    )
    detections = []
    for image in truth['images'][:-1]:  # the last has no object
        for _ in range(8):
            x, y = generator.uniform(0, 180, 2).tolist()
            size = float(generator.choice([20, 60, 110]))
            category = int(generator.choice([3, 8], p=[0.8, 0.2]))
            truth['annotations'].append(
                dict(
                    id=len(truth['annotations']) + 1,
                    image_id=image['id'],
                    category_id=category,
                    bbox=[x, y, size, size],
                    area=size * size,
                    iscrowd=int(generator.random() < 0.1),
                )
            )
            shift = generator.normal(0, 0.12 * size, 4)
            detections.append(
                dict(
                    image_id=image['id'],
                    category_id=category,
                    bbox=np.add([x, y, size, size], shift).tolist(),
                    score=float(generator.random()),
                )
            )
    for image in truth['images']:
        for _ in range(5):
            box = generator.uniform(0, 150, 4).tolist()
            detections.append(
                dict(
                    image_id=image['id'],
                    category_id=3,
                    bbox=box,
                    score=float(generator.random()),
                )
            )
    return truth, detections
