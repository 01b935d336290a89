"""The commands."""

from __future__ import annotations

import runpy
import shutil
import sys
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from surrogates.errors import DataError, FileFormatError, FitWarning, MissingExtraError, NumericalError

from .tables import read_table, require_columns, require_folder, write_table

app = typer.Typer(
    help="Surrogates that share what few, expensive observations over many related tasks have in common.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
examples = typer.Typer(help="The case studies that come with the library.", no_args_is_help=True)
app.add_typer(examples, name="examples")

_PACKAGE = Path(str(files("surrogates")))
#: folder below the current one for copies of installed examples
COPIES = "surrogates-examples"
#: options that take one value after the other, up to the next option
SEVERAL = ("--inputs", "--fidelities", "--units")
Model = Annotated[Path, typer.Argument(help="A saved model.")]
Table = Annotated[Path, typer.Argument(help="A table: .csv, .tsv, .xlsx, .parquet or .nc, with a header.")]


@app.command()
def fit(
    table: Table,
    inputs: Annotated[list[str], typer.Option(help="Columns that the target depends on, one or several.")],
    target: Annotated[str, typer.Option(help="Column that is learnt.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the model.")],
    task: Annotated[str | None, typer.Option(help="Column that says which of the related tasks a row is of.")] = None,
    fidelity: Annotated[str | None, typer.Option(help="Column that names the gauge or code.")] = None,
    fidelities: Annotated[
        list[str] | None,
        typer.Option(help="Labels of the fidelity column, coarsest first, where each has a function of its own."),
    ] = None,
    noise: Annotated[str | None, typer.Option(help="Column with the standard deviation of each reading.")] = None,
    units: Annotated[list[str] | None, typer.Option(help="Units of columns: height=um x=mm.")] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
) -> None:
    """Fit a model to a table and save it; print what happened."""
    from surrogates import HierarchicalGP, MultiFidelityGP, Schema

    require_folder(output)
    data = read_table(table, _pairs(units or []))
    require_columns(data, [*inputs, target, *(name for name in (task, fidelity, noise) if name)], table)
    schema = Schema(inputs=tuple(inputs), target=target, task=task, fidelity=fidelity, noise=noise)
    if fidelities and fidelity is None:
        raise DataError(f"fidelities are {fidelities}, but no column is named by --fidelity; name it")
    model: Any = HierarchicalGP(schema)
    if fidelities:
        model = MultiFidelityGP(schema, fidelities=tuple(_labels(data[str(fidelity)].to_numpy(), fidelities)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # the report has them
        fitted = model.fit(data, seed=seed, progress=sys.stderr.isatty())
    fitted.save(output)
    print(fitted.report)
    print(f"\nsaved as {output}; next: surrogates predict {output} PLACES.csv, or surrogates explore {output}")


@app.command()
def predict(
    model: Model,
    table: Table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the answer; none: the screen.")
    ] = None,
) -> None:
    """Mean, std of the function and noise_std of a reading, at the places of a table."""
    require_folder(output)
    fitted = _load(model)
    data = read_table(table)
    for name, unit in fitted.vocabulary.units.items():
        if name in data.variables and unit and "units" not in data[name].attrs:
            data[name].attrs["units"] = unit  # a CSV has none: they are those of the fit
    answer = fitted.predict(data)
    names = [name for name in (*fitted.schema.inputs, fitted.schema.task, fitted.schema.fidelity) if name in data]
    write_table(data[names].reset_coords().merge(answer.reset_coords(drop=True)), output)


@app.command()
def report(
    model: Model,
    picture: Annotated[Path | None, typer.Option(help="File for a figure of the fit's health.")] = None,
) -> None:
    """How a fit went and how far it can be trusted."""
    require_folder(picture)
    fitted = _load(model)
    print(fitted.report)
    if hasattr(fitted, "health"):
        health = fitted.health()
        print(f"\n{health}")
        if picture is not None:
            _draw(health, picture)
    elif picture is not None:
        raise DataError(f"a {type(fitted).__name__} has no health report to draw; leave out --picture")


@app.command()
def explore(
    model: Model,
    port: Annotated[int, typer.Option(help="Of the page; 0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Look into a model in the browser: slices, intervals, readings, health."""
    fitted = _load(model)
    if not hasattr(fitted, "explore"):
        raise DataError(
            f"a {type(fitted).__name__} has no slices to explore; models of numbers, tasks, fidelities have"
        )
    with fitted.explore(port=port, browser=browser) as server:
        print(f"{server.url} (this machine only; Ctrl+C ends it)", flush=True)
        server.wait()


@examples.command("list")
def list_examples() -> None:
    """Names of the case studies and what each is about."""
    for name, path in _examples().items():
        text = path.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
        print(f"{name:24} {text}")


#: whatever follows the name is the script's own, --help too
_AFTER = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


@examples.command("run", context_settings=_AFTER)
def run_example(
    context: typer.Context, name: Annotated[str, typer.Argument(help="One of those that `examples list` shows.")]
) -> None:
    """Run a case study; what follows its name goes to it (--help, too).

    Outside of a checkout, it is a copy in ./surrogates-examples that is run, and that can be changed.
    """
    known = _examples()
    if name not in known:
        raise DataError(f"there is no example {name!r}; there are {sorted(known)}")
    path = known[name] if known[name].parent == _PACKAGE.parent / "examples" else _copied(known, name)
    sys.argv = [str(path), *context.args]
    sys.path.insert(0, str(path.parent))
    try:
        runpy.run_path(str(path), run_name="__main__")
    except ModuleNotFoundError as error:
        raise DataError(
            f"the example {name!r} needs {error.name}, which isn't installed; install it, or the extra of "
            f"multitask-surrogates that brings it"
        ) from error


def run(arguments: list[str]) -> NoReturn:
    """Run a command and end the process; errors that a user can mend are one line."""
    try:
        own = arguments if arguments[:1] == ["examples"] else _spread(arguments)
        app(own, prog_name="surrogates", standalone_mode=True)
    except (DataError, FileFormatError, MissingExtraError, NumericalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _spread(arguments: list[str]) -> list[str]:
    """``--inputs x y`` as ``--inputs x --inputs y``, which is what typer understands."""
    spread: list[str] = []
    current = None
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in SEVERAL else None
            if current is None:
                spread.append(argument)
        elif current is not None:
            spread += [current, argument]
        else:
            spread.append(argument)
    return spread


def _pairs(units: list[str]) -> dict[str, str]:
    wrong = [pair for pair in units if "=" not in pair]
    if wrong:
        raise DataError(f"units are given as {wrong[0]!r}; COLUMN=UNIT is wanted, such as height=um")
    return dict(pair.split("=", 1) for pair in units)


def _labels(column: Any, wanted: list[str]) -> list[Any]:
    """Labels as the column has them, which may be numbers."""
    known = {str(label): label for label in column.tolist()}
    missing = [label for label in wanted if label not in known]
    if missing:
        raise DataError(f"fidelities name {missing[0]!r}; the column has {sorted(known)[:20]}")
    return [known[label] for label in wanted]


def _load(path: Path) -> Any:
    from surrogates import load

    if not path.is_file():
        raise DataError(f"there is no file {path}; check the name")
    return load(path)


def _draw(health: Any, picture: Path) -> None:
    try:
        health.plot().savefig(picture, dpi=150)
    except ValueError as error:  # matplotlib names the endings that it knows
        raise DataError(f"{picture} can't be drawn: {error}") from error


def _examples() -> dict[str, Path]:
    """Scripts by name: those that were installed with the package, or, in a checkout, those beside it."""
    folder = _PACKAGE / "examples" if (_PACKAGE / "examples").is_dir() else _PACKAGE.parent / "examples"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def _copied(known: dict[str, Path], name: str) -> Path:
    """An installed script as a copy that can be edited, among its fellows, with room for what it writes.

    Copies that are there already stay as they are.
    """
    folder = Path.cwd() / COPIES
    folder.mkdir(exist_ok=True)
    for path in known.values():
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    copy = folder / known[name].name
    changed = "" if copy.read_bytes() == known[name].read_bytes() else ", which differs from the one installed"
    print(f"running {copy}{changed}", file=sys.stderr)
    return copy
