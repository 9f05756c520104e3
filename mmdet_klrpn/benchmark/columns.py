"""The long frame between measuring and reporting, and its metrics' names.

A row is a value: ``detector``, ``seed``, ``metric``, ``at``, ``value`` and
``n``, the number of images or objects that it is measured on (0 where it is
of neither). ``at`` is what a curve or a table's column is indexed by, as
text, and empty for a metric of one value:

| metric | at | value |
| --- | --- | --- |
| AP, AP50, AP75, AP_S, AP_M, AP_L | | in [0, 1], as pycocotools' |
| class AP | name of the class | in [0, 1] |
| AP | n of ``PROPOSAL_NUMBERS`` as '@n' | AP with the n best proposals |
| AR, AR_S, AR_M, AR_L | n of ``RECALL_NUMBERS`` as '@n' | recall, in [0, 1] |
| precision50, precision75 | recall 0.00 to 1.00 | a mean over classes |
| recall100, recall1000 | IoU 0.50 to 0.95 | of the n best proposals |
| FP, proposal FP | recall 0.1 to 0.9 | false positives an image, at IoU 0.5 |
| proposals | '@n' | mean number that there are when n are asked for |
| parameters, flops | | of the network, and of an image |
| training_s, training_mb | | of an iteration, and at its peak |
| inference_mb | | at its peak |
| ms, first_stage_ms | | of an image, all detectors timed in turns |
| second_stage_ms | '@n' | likewise |

A value that does not exist, such as the AP of a class without an object or
the false positives at a recall that is not reached, is NaN. A metric is
called by ``metric + at``, such as 'AP', 'AR@100' or 'AP@10'.
"""

COLUMNS = ('detector', 'seed', 'metric', 'at', 'value', 'n')
# Average precisions, over IoU 0.5 to 0.95 where none is named.
AP_NAMES = ('AP', 'AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L')
# Average recalls, of ``AREAS``.
AR_NAMES = ('AR', 'AR_S', 'AR_M', 'AR_L')
# How many proposals the second stage is given in turn.
PROPOSAL_NUMBERS = (10, 20, 30, 50, 100, 300, 1000)
# At how many proposals their recall is given.
RECALL_NUMBERS = (10, 30, 100, 300, 1000)
AREAS = ('all', 'small', 'medium', 'large')
IOUS = tuple(f'{0.5 + 0.05 * i:.2f}' for i in range(10))
# Recalls at which false positives are counted.
EQUAL_RECALLS = tuple(f'{i / 10}' for i in range(1, 10))
