from rich.console import Console

from clipsieve.evaluation.report.summary import summary_table


def test_each_metric_is_a_row_with_both_models_values_and_intervals(finished_run):
    """10 and 16 of 40 right are 25.0% and 40.0%; Wilson's 95% intervals by hand."""
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(summary_table(str(finished_run)))
    lines = console.export_text().splitlines()
    assert sum("25.0% [14.2, 40.2]" in line and "40.0% [26.3, 55.4]" in line for line in lines) == 3
    assert any("all pairs" in line and "top 40%" in line for line in lines)
    assert any("pairs" in line and "55" in line and "22" in line for line in lines)
