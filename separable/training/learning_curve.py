"""The report of a training: losses and scores over steps and minutes, and what the model gave at each evaluation."""

from typing import Any

from separable.training.report import Report
from separable.training.run_folder import RunFolder

_SAMPLES = 3  # the last ones


def write_training_report(run: RunFolder, title: str) -> None:
    """Write ``report.html`` from ``metrics.jsonl``, with a picture where matplotlib is installed."""
    lines = run.metrics()
    losses = [line for line in lines if "loss" in line]
    looks = [line for line in lines if line.get("scores")]
    last = losses[-1] if losses else {}
    page = Report(title, f"{last.get('step', 0)} steps in {last.get('seconds', 0) / 60:.1f} minutes of training.")
    if losses:
        picture = _picture(run, losses, looks)
        if picture is not None:
            page.section("Learning curve")
            page.picture(picture, "Loss and scores over steps and minutes")
    if looks:
        page.section("Evaluations")
        shown = looks if len(looks) <= 12 else [*looks[: -1 : len(looks) // 10], looks[-1]]
        page.table([{"step": line["step"], "minutes": line["seconds"] / 60, **line["scores"]} for line in shown])
    samples = [line for line in lines if "sample" in line][-_SAMPLES:]
    if samples:
        page.section("Samples")
    for line in samples:
        page.text(f"after {line['step']} steps", note=True)
        page.code(line["sample"])
    run.write("report.html", page.html())


def _picture(run: RunFolder, losses: list[dict[str, Any]], looks: list[dict[str, Any]]) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    first, second = figure.subplots(1, 2, sharey=True)
    for axis, name, unit in ((first, "step", 1.0), (second, "seconds", 60.0)):
        axis.plot([line[name] / unit for line in losses], [line["loss"] for line in losses], label="loss", alpha=0.6)
        if looks:
            score = next(iter(looks[0]["scores"]))
            told = [line for line in looks if score in line["scores"]]
            axis.plot([line[name] / unit for line in told], [line["scores"][score] for line in told], ".-", label=score)
        axis.set_xlabel("step" if name == "step" else "minutes")
        axis.grid(alpha=0.3)
    first.legend()
    return run.figure("learning_curve", figure)
