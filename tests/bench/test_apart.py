"""What the table of the section ``apart`` adds up."""

from ptune_scale.bench.sections.apart import table


def job(*relations: str, seconds: float) -> dict:
    return {"relations": list(relations), "seconds": seconds, "cpu_seconds": seconds / 2}


def test_single_jobs_are_added_up_beside_the_joint_one():
    points = [job("P17", "P19", seconds=100.0), job("P17", seconds=70.0), job("P19", seconds=90.0)]
    lines = table({"steps_per_relation": 4, "points": points}).splitlines()
    assert lines[2:] == ["| together | 1 | 2 | 8 | 100 | 50 |", "| apart | 2 | 2 | 8 | 160 | 80 |"]


def test_what_an_interruption_left_out_is_said():
    joint, single = job("P17", "P19", seconds=100.0), job("P17", seconds=70.0)
    assert "apart" not in table({"steps_per_relation": 4, "points": [joint]})
    lines = table({"steps_per_relation": 4, "points": [joint, single]}).splitlines()
    assert lines[3].startswith("| apart | 1 | 1 | 4 |")
    assert lines[-1] == "- Stopped after 1 of 2 single jobs."
