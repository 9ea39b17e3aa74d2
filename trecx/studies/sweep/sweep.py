"""`trecx sweep`: the plain network first, then trials until as many are done as wanted; read from top to bottom."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trecx import documents, pipeline, program, request
from trecx.console import Console, Step
from trecx.errors import TrecxError
from trecx.files import write_json
from trecx.learn.exits.method import INPUT, reachable
from trecx.learn.keras import keras
from trecx.learn.train import BACKBONE
from trecx.run import Run
from trecx.settings import TRAINED, Settings
from trecx.stamp import Origin, content
from trecx.steps import counting
from trecx.steps import pair as pairs
from trecx.steps.data import data, split_sha256
from trecx.steps.learned import learned
from trecx.studies.sweep import picture, plan, results, store
from trecx.studies.sweep.candidate import Judged, judge
from trecx.studies.sweep.crew import Crew
from trecx.studies.sweep.plan import Options, Space
from trecx.studies.sweep.progress import Watch
from trecx.studies.sweep.results import Found
from trecx.studies.sweep.worker import Order
from trecx.subjects import OwnFile, OwnModel, subject

if TYPE_CHECKING:
    from optuna import Study

PLAIN, MATERIAL = "plain", "material"
JOURNAL = "journal.log"


@dataclass(frozen=True)
class Material:
    """What candidates are made of: every tap of the backbone, those that suit an exit, and the data by their hashes."""

    taps: tuple[str, ...]
    suited: tuple[str, ...]
    data: dict[str, str]


@dataclass(frozen=True)
class Begun:
    """A sweep before its first trial: the run of the plain network and its worth, what is searched, and the study."""

    plain: Run
    space: Space
    judged: Judged
    study: "Study"


def run(name: str | None, options: Options, console: Console) -> tuple[Found, Path]:
    """Search until as many trials are done as wanted; what was found, and the folder where it is.

    What is done already is not done again. TrecxError for what cannot work, before anything is trained.
    """
    store.require()
    plan.ways(options.methods, options.most_exits)
    asked = request.checked(request.asked(name, {**(options.settings or {}), "method": "none", "train": True}))
    out = (options.out or Path("build") / "sweep" / asked.name).absolute()
    before, fresh = earlier(out), not out.exists() or not any(out.iterdir())
    where, study_name = located(out, options.storage, before), options.study or f"trecx-{asked.name}"
    if before is not None:
        named = {"--study": options.study or before.study, **chosen_terms(asked, options)}
        store.require_same(before.study, {"--study": before.study, **before.about}, named)
        study_name = before.study
    try:
        begun = begin(name, asked, out, where, study_name, options, console)
    except BaseException:
        if fresh and not (out / PLAIN).exists():
            shutil.rmtree(out, ignore_errors=True)
        raise
    shared = shared_settings(begun.plain)
    base = Found(
        format=results.FORMAT,
        task=shared.name,
        study=study_name,
        storage=JOURNAL if where == str(out / JOURNAL) else store.shown(where),
        about=begun.study.user_attrs[store.ABOUT],
        wanted=store.want(begun.study, options.trials, plan.TRIALS),
        points=shared.points,
        confidence=shared.confidence,
        plain=begun.judged,
        candidates=0,
        trials=(),
    )
    order = Order("", 0, out, where, study_name, shared, begun.space)
    return search(base, order, begun.study, options.workers, console), out


def search(base: Found, order: Order, study: "Study", workers: int, console: Console) -> Found:
    """Have the trials done that are wanted, and write what was found, whatever ends it."""
    crew, found = Crew(order, workers), base

    def collected() -> Found:
        done = store.finished(store.counted(study))
        return results.assembled(base, [results.trial(one, order.out, order.settings) for one in done])

    store.collect(study, order.out)
    if store.is_work(store.counted(study), base.wanted):
        with console.step("search") as step, Watch(console, base, order) as watch:
            try:
                crew.work(watch.see)
            finally:
                found = collected()
                results.write(found, order.out)
            step.outcome = f"{len(found.trials)} trials, {found.candidates} candidates"
    found = collected()
    results.write(found, order.out)
    picture.draw(found, order.out)
    if elsewhere := [one for one in store.counted(study) if not one.state.is_finished()]:
        console.line(
            f"  {len(elsewhere)} trials are at work elsewhere; the same command again shows what came of them."
        )
    return found


def earlier(out: Path) -> Found | None:
    """What a sweep has left in its folder; TrecxError for a folder of something else."""
    if out.exists() and not out.is_dir():
        raise TrecxError(f"{out} is a file.", "Choose another folder with --out.")
    others = out.is_dir() and any(one.name != PLAIN for one in out.iterdir())
    if others and not (out / PLAIN / "run.json").is_file():
        raise TrecxError(f"{out} holds other files and no sweep.", "Choose an empty or new folder with --out.")
    return results.read(out) if (out / results.FILE).exists() else None


def located(out: Path, storage: str | None, before: Found | None) -> str:
    """Where the study lies: as asked, or where it has been."""
    known = before.storage if before is not None else JOURNAL
    known = known if "://" in known else str(out / known)
    if storage is None:
        if "***" in known:
            raise TrecxError(f"The study of {out} lies in {known}.", "Give --storage with its password.")
        return known
    found = store.absolute(storage)
    if before is not None and store.shown(found) != known:
        raise TrecxError(
            f"The study of {out} lies in {known}, not in {store.shown(found)}.",
            "Leave --storage out to go on with it, or choose another folder with --out.",
        )
    return found


def begin(
    name: str | None, asked: Settings, out: Path, where: str, study: str, options: Options, console: Console
) -> Begun:
    """The plain network, trained, quantized and judged as any candidate; the study is opened before."""
    given = {**(options.settings or {}), "method": "none", "train": True}
    if asked.data is None:
        about = subject(asked)
        assert not isinstance(about, OwnFile)
        with console.step("data") as step:
            given["data"] = about.fetched(step)
            step.outcome = str(given["data"])
    run = request.start(name, out / PLAIN, given, console)
    with run.working():
        settings = pipeline.settings_of(run)
        made_of = material(Run(out), pipeline.origin(run, "train", settings), settings, console)
        space = plan.space(options, made_of.taps, made_of.suited)
        opened = store.open_(where, study)
        store.claim(opened, store.ABOUT, {**chosen_terms(settings, options), **found_terms(made_of, space)})
        for step_name in TRAINED:
            pipeline.do(run, step_name, settings, console)
        judged = judged_plain(run, settings, console)
    sha256 = pairs.read(run.folder(pipeline.folder("calibrate"))).exits.model_sha256
    store.claim(opened, store.PLAIN, {"the SHA-256 of the plain int8 network": sha256})
    return Begun(run, space, judged, opened)


def judged_plain(run: Run, settings: Settings, console: Console) -> Judged:
    """What the plain network is worth."""
    with console.step("judge") as step:
        judged = judge(run, pipeline.folder("calibrate"), "judged", settings)
        step.outcome = (
            f"the plain network: {judged.accuracy:.2%} of {judged.samples:,} validation samples, "
            f"{judged.cost / results.MILLION:.3f} {results.unit(judged.counted)}"
        )
    return judged


def material(run: Run, trained: Origin, settings: Settings, console: Console) -> Material:
    """What candidates are made of; found out once for what tells data and model from others in a training."""
    told = {key: trained.configuration[key] for key in ("task", "pixels", "files", "data")}
    of = Origin(told, program.digest(examined))
    with console.step(MATERIAL) as step:
        run.step(MATERIAL, of, lambda out: write_json(out / f"{MATERIAL}.json", asdict(examined(settings, step))))
        found: Material = documents.kept(Material, run.folder(MATERIAL) / f"{MATERIAL}.json")
        step.outcome = f"{len(found.suited)} taps: {', '.join(found.suited)}"
    return found


def examined(settings: Settings, step: Step) -> Material:
    """What a task or a model is made of. Of the data, what is judged on and what is learned from."""
    about, found = subject(settings), data(settings, step)
    assert found is not None
    taps = tuple(reachable(learned(settings, step).backbone(keras())))
    suited = taps
    if isinstance(about, OwnModel):
        from trecx.learn.own_model import facts

        suited = (INPUT, *(tap.name for tap in facts(about.path).taps))
    splits = {"train": found.train, "validation": found.validation.of(found.calibration)}
    return Material(taps, suited, {name: split_sha256(split) for name, split in splits.items()})


def shared_settings(plain: Run) -> Settings:
    """The settings that all candidates share: they start from the plain network, as it was given or trained."""
    settings = pipeline.settings_of(plain)
    if settings.weights or settings.model:
        return settings
    return settings.changed({"weights": plain.folder("train") / BACKBONE})


def chosen_terms(settings: Settings, options: Options) -> store.Terms:
    """What was chosen for a study: with something else it would be another search."""
    files = {
        "the task's own file": settings.task.rpartition(":")[0] if settings.task else None,
        "the model": settings.model,
        "the backbone at the start": settings.weights,
        "the teacher": settings.teacher,
    }
    return {
        "the task": settings.task.rpartition(":")[2] if settings.task else settings.name,
        **{
            f"the SHA-256 of {what}": content(Path(path))[:16] if path and Path(path).exists() else None
            for what, path in files.items()
        },
        "the range of pixels": settings.pixels,
        "what costs are counted in": counting.counted(settings.cost),
        **{f"--{name}": getattr(settings, name) for name in ("points", "confidence", "against", "epochs", "seed")},
        "--methods": list(options.methods),
        "--most-exits": options.most_exits,
    }


def found_terms(made_of: Material, space: Space) -> store.Terms:
    """What was found of it: the taps to choose from, and the data."""
    hashes = {f"the SHA-256 of the {name} data": sha256[:16] for name, sha256 in made_of.data.items()}
    return {"the taps": list(space.taps), **hashes}
