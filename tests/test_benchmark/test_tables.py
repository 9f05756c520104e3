"""Every cell of a table beside the values that it is made of."""

import statistics

import pandas as pd
import pytest
from synthetic_results import NAMES, synthetic_results

from mmdet_klrpn.benchmark import tables
from mmdet_klrpn.benchmark.tables import BOLD, DASH, Table


@pytest.fixture(scope='module')
def results():
    return synthetic_results()


def values(results, detector, metric, at=''):
    """Values over seeds, by a naive loop."""
    return [
        row.value
        for row in results.frame.itertuples()
        if (row.detector, row.metric, row.at) == (detector, metric, at)
    ]


def test_means_and_deviations_over_seeds(results):
    columns = tables.columns_of(results, 'AP', 'AR_S@1000', 'FP*', 'flops')
    assert len(columns) == 12
    cells = tables.means(results, columns)
    assert list(cells.index) == NAMES
    for name in NAMES:
        for metric, at in columns:
            found = values(results, name, metric, at)
            if not found:
                assert cells.loc[name, (metric, at)] == DASH
                continue
            scale = {'FP': 1, 'flops': 1e-9}.get(metric, 100)
            digits = 2 if metric in ('FP', 'flops') else 1
            expected = f'{scale * statistics.mean(found):.{digits}f}'
            if len(found) > 1:
                sd = scale * statistics.stdev(found)
                expected += f' ± {sd:.{digits}f}'
            assert cells.loc[name, (metric, at)] == expected
    assert cells.loc['Zoo', ('AP', '')] == DASH
    counted = tables.counted(results, columns)
    assert counted['seeds'].tolist() == [
        '5 of 5',
        '2 of 5',
        '5 of 5',
        '1 of 1',
    ]
    assert counted.columns[0] == 'AP'
    assert counted.columns[2] == 'FP at 0.1'


def test_seeds_are_those_that_have_a_value(results):
    frame = results.frame
    frame = frame[(frame['metric'] != 'ms') | (frame['seed'] == 0)]
    results = results._replace(frame=frame)
    assert set(tables.counted(results, [('ms', '')])['seeds']) == {
        '1 of 5',
        '1 of 1',
    }


def test_columns_ascend_and_lose_a_common_metric(results):
    columns = tables.columns_of(results, 'AP*')
    assert [at for _, at in columns][-3:] == ['@100', '@300', '@1000']
    assert tables.headings(columns)[0] == '@10'
    tenths = tables.columns_of(results, 'precision50*10')
    assert [at for _, at in tenths[:3]] == ['0.00', '0.10', '0.20']
    assert len(tenths) == 11


def test_a_seed_without_a_value_leaves_no_mean(results):
    frame = results.frame.copy()
    own = frame.query('detector == "RPN" and metric == "FP" and at == "0.9"')
    frame.loc[own.index[0], 'value'] = float('nan')
    results = results._replace(frame=frame)
    cells = tables.means(results, [('FP', '0.8'), ('FP', '0.9')])
    assert cells.loc['RPN', ('FP', '0.9')] == DASH
    assert cells.loc['RPN', ('FP', '0.8')] != DASH
    ratios = tables.ratios(results, [('FP', '0.8'), ('FP', '0.9')])
    assert ratios['0.9'].tolist() == [DASH] * 3


def test_differences_are_bold_only_if_significant(results):
    bold = 0
    for pair in results.plan.pairs:
        cells = tables.differences(results, pair)
        for row in results.comparisons.itertuples():
            name = tables.label(row.metric, row.at)
            if (row.first, row.second) != pair:
                continue
            if name not in cells.index:
                assert row.metric.startswith(('class', 'precision', 'recall'))
                continue
            text = cells.loc[name, 'difference']
            assert bool(BOLD.match(text)) == row.significant
            bold += row.significant
            expected = tables.show(row.metric, row.difference, '+')
            assert text.strip('*') == expected
            over = cells.loc[name, '95% over seeds']
            if pd.isna(row.seeds_low):
                assert over == DASH
            else:
                low, high = over.split(' to ')
                assert low == tables.show(row.metric, row.seeds_low, '+')
                assert high == tables.show(row.metric, row.seeds_high, '+')
    assert bold == 1
    head = tables.headline(results)
    assert head['difference'].map(lambda t: bool(BOLD.match(t))).sum() == 1
    assert head.loc['KL-RPN minus RPN', 'seeds'] == '5 + 5'
    assert set(head.loc['Zoo minus RPN'].drop('seeds')) == {DASH}


def test_ratios_and_reach(results):
    columns = tables.columns_of(results, 'FP*')
    cells = tables.ratios(results, columns)
    first, second = (
        statistics.mean(values(results, name, 'FP', '0.3'))
        for name in ('RPN', 'KL-RPN')
    )
    assert cells.loc['KL-RPN / RPN', '0.3'] == f'{second / first:.2f}'

    found = tables.reach(results)
    goal = statistics.mean(values(results, 'RPN', 'AP'))
    enough = next(
        n
        for n in (10, 20, 30, 50, 100, 300, 1000)
        if statistics.mean(values(results, 'KL-RPN', 'AP', f'@{n}')) >= goal
    )
    row = found[found['reached by'] == 'KL-RPN'].loc['RPN']
    assert row['with'] == str(enough) == '300'
    assert (row['ms'], row['its ms']) == ('25.0', '11.0')
    assert found.loc['KL-RPN', 'with'] == 'none of these'
    assert found.loc['Zoo', 'with'] == DASH


def test_classes_seeds_and_builds(results):
    cells = tables.by_class(results)
    found = values(results, 'KL-RPN', 'class AP', 'class 1')
    assert cells.loc['class 1', 'KL-RPN'].startswith(
        f'{100 * statistics.mean(found):.1f} ± '
    )
    assert cells['objects'].tolist() == [10, 11, 12]
    assert cells.loc['class 1', 'KL-RPN minus RPN'].count('+') == 3

    runs = tables.by_seed(results, [('AP', ''), ('AR', '@100')])
    assert len(runs) == 13
    assert runs.index[5] == f'{NAMES[1]}, seed 0'
    expected = 100 * values(results, 'KL-RPN', 'AR', '@100')[3]
    assert runs.loc['KL-RPN, seed 3', 'AR@100'] == f'{expected:.1f}'
    assert runs.loc['Zoo, seed 0', 'AP'] == DASH

    built = tables.built(results, results.plan.pairs[1])
    assert built['differs'].tolist() == ['yes', 'yes', 'no']
    sets = tables.test_sets(results)
    assert sets.loc['RPN'].tolist() == [20, 40, 3, 40, 40, 40]
    assert sets.columns[-1] == 'large'
    parts = tables.provenance(results)['runs']
    assert parts['training: processes'] == '8 (13)'
    assert parts['environment: commit'] == f'{DASH} (13)'


def test_every_form_of_a_table(tmp_path):
    frame = pd.DataFrame({'a_b %': ['x & y | z'], 'c': ['**+1.0**']})
    table = Table('t', 'caption', frame)
    assert table.markdown().splitlines()[2] == r'| x & y \| z | **+1.0** |'
    csv, tex = table.write(tmp_path)
    assert csv.read_text() == 'a_b %,c\nx & y | z,+1.0\n'
    text = tex.read_text()
    assert r'a\_b \% & c \\' in text
    assert r'x \& y | z & \textbf{+1.0} \\' in text
    assert text.index(r'\toprule') < text.index(r'\midrule')
