"""The config of the real A/A study."""

from benchmarks.real_aa import make_config

from stagebench.design.config import check_config


def test_its_treatments_differ_in_a_variable_that_nothing_reads():
    treatments = check_config(make_config(11, 5, 20, 1000, seed=1)).treatments
    variables = [each.specification["process"].pop("environment") for each in treatments]
    assert len({variable["STAGEBENCH_NAME"] for variable in variables}) == 11
    for each in treatments:
        for name in ("treatment", "factors"):
            del each.specification[name]
    assert all(each.specification == treatments[0].specification for each in treatments)
    assert [each.baseline for each in treatments].count(True) == 1
