from rich.console import Console

from evaluation.report import summary_table


def test_each_model_is_a_row_with_its_values_and_intervals(finished_run):
    """16 of 40 right is 40.0%, and Wilson's 95% interval of it 26.3% to 55.4%."""
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(summary_table(str(finished_run)))
    lines = console.export_text().splitlines()
    row = next(line for line in lines if "top40" in line)
    assert "top 40%" in row
    assert "512" in row
    assert row.count("40.0% [26.3, 55.4]") == 3
    assert any("all pairs" in line and "25.0% [14.2, 40.2]" in line for line in lines)
