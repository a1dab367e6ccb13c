"""`run` on a machine that is not quiet: made again, left out, given up, gone on with."""

import pytest

from harness.cli.main import main
from harness.machine.quiet import Probes
from harness.records.store import read_run


class Swapping:
    """A source that tells of swapping, or of none."""

    figures = ("swap_in_bytes",)
    sampled = False

    def __init__(self, n_bytes):
        self._n_bytes = n_bytes

    def read(self, worker):
        return worker

    def tell(self, readings, seconds):
        del readings, seconds
        return {"swap_in_bytes": self._n_bytes}


@pytest.fixture
def swaps(monkeypatch):
    """Let each trial that comes swap or not, as listed; those after the last do not."""
    coming = []

    def sources(_probes, *, gpus):
        del gpus
        return [Swapping(2**30 if coming and coming.pop(0) else 0)]

    monkeypatch.setattr(Probes, "sources", sources)

    def script(*swapping):
        coming[:] = swapping

    return script


@pytest.fixture
def run(fake_study, tmp_path, swaps):
    """Run a study of one strategy; returns the exit code and the run's folder."""

    def go(*options, swapping=(), script=None, **changes):
        swaps(*swapping)
        study = fake_study(script or {}, **{"noise": True, "roofline": False, **changes})
        results = tmp_path / "results"
        with pytest.raises(SystemExit) as stop:
            main(["run", str(study), "--results", str(results), "--machine", "here", *options])
        (folder,) = (results / "here").glob("*")
        return stop.value.code, folder

    return go


def attempts(folder):
    """Trial, attempt and outcome of each record, in the order of the file."""
    return [(r.trial, r.attempt, r.outcome.kind) for r in read_run(folder).records]


YES, NO = True, False


def test_a_noisy_trial_is_made_again_at_the_end_of_its_block(run, capsys):
    code, folder = run(swapping=[YES, NO, NO])
    assert code == 0
    assert attempts(folder) == [(0, 0, "noisy"), (0, 1, "ok"), (1, 0, "ok")]
    noisy = read_run(folder).records[0]
    assert noisy.decode_s
    assert noisy.outcome.reason == "swap in 1,024.0 MiB (limit 1.0 MiB)"
    assert "1 noisy attempt left out" in (folder / "summary.md").read_text(encoding="utf-8")
    shown = capsys.readouterr()
    assert "noisy: swap in" in shown.err
    assert "disturbed" not in shown.out


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(("swapping", "n"), [([YES] * 9, 2), ([YES, NO, NO, NO], 0)])
def test_what_stayed_noisy_is_said_with_what_makes_it_again(swapping, n, run, capsys):
    run(swapping=swapping)
    said = " ".join(capsys.readouterr().out.split())
    sentence = f"{n} of 2 trials were disturbed each time they were made; "
    assert (sentence in said) == bool(n)
    assert ("On a quieter machine this makes them again: " in said) == bool(n)


def test_it_is_made_again_so_often_and_no_more(run):
    code, folder = run("--trials", "1", swapping=[YES] * 9, noise={"retries": 3})
    assert code == 0
    assert attempts(folder) == [(0, attempt, "noisy") for attempt in range(4)]


@pytest.mark.usefixtures("without_report")
def test_no_retries_where_the_study_wants_none(run):
    _, folder = run(swapping=[YES] * 9, noise={"retries": 0})
    assert attempts(folder) == [(0, 0, "noisy"), (1, 0, "noisy")]


@pytest.mark.usefixtures("without_report")
def test_a_machine_that_is_never_quiet_is_not_asked_again_in_every_block(run):
    _, folder = run("--trials", "3", swapping=[YES] * 9)
    assert attempts(folder) == [
        (0, 0, "noisy"),
        (0, 1, "noisy"),
        (0, 2, "noisy"),
        (1, 0, "noisy"),
        (2, 0, "noisy"),
    ]


@pytest.mark.usefixtures("without_report")
def test_going_on_tries_noisy_trials_again_and_only_those(run):
    _, folder = run(swapping=[YES, YES, YES, NO])
    first = [(0, 0, "noisy"), (0, 1, "noisy"), (0, 2, "noisy"), (1, 0, "ok")]
    assert attempts(folder) == first
    code, same = run()
    assert (code, same) == (0, folder)
    assert attempts(folder) == [*first, (0, 3, "ok")]


def test_figures_without_a_quiet_trial_are_shown_with_a_mark(run, capsys):
    code, folder = run("--trials", "1", swapping=[YES] * 9)
    assert code == 0
    shown = capsys.readouterr().out
    assert "disturbed" in shown
    assert "no trial was quiet: swap in" in shown
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Was the machine quiet?" in html
    assert "the machine was not quiet in any trial" in html


@pytest.mark.usefixtures("without_report")
def test_noise_off_lets_everything_pass(run):
    code, folder = run(swapping=[YES] * 9, noise=False)
    assert code == 0
    assert attempts(folder) == [(0, 0, "ok"), (1, 0, "ok")]


@pytest.mark.usefixtures("without_report")
def test_a_cell_that_fails_is_not_excused_by_noise(run):
    code, folder = run(
        "--trials", "1", swapping=[YES] * 9, script={"fail": {"at": "open", "how": "crash"}}
    )
    assert code == 4
    assert attempts(folder) == [(0, 0, "crashed")]
