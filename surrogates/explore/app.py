"""The page: sliders and selectors on the left, slices on the right, the health report below."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from surrogates import figures
from surrogates.errors import missing_extra
from surrogates.schema import Label

from .figure import HALF, figure, panel_of
from .slices import FEWER, MANY, POINTS, Axis, Explorable, axes, beside, mine, slices

#: readings drawn in each panel, the nearest ones
MOST_DOTS = 600
_MOVED = {"type": "input"}
_SIDE = {"width": "300px", "padding": "12px 18px", "flex": "none", "fontSize": "14px"}
_PAGE = {"fontFamily": "system-ui, sans-serif", "display": "flex", "flexWrap": "wrap", "color": "#222"}


class View:
    """What the page shows of one model; a plain function of the sliders' values."""

    def __init__(self, fitted: Explorable) -> None:
        self.fitted = fitted
        self.readings = fitted.readings()
        self.axes: tuple[Axis, ...] = axes(fitted, self.readings)
        units = fitted.vocabulary.units[fitted.schema.target]
        self.target = figures.label(fitted.schema.target, units)

    @property
    def tasks(self) -> Sequence[Label | None]:
        """Labels of the selector; empty where the schema names no task."""
        return self.fitted.vocabulary.tasks if self.fitted.schema.task is not None else ()

    @property
    def fidelities(self) -> Sequence[Label | None]:
        """Labels of the selector; empty where the schema names no fidelity."""
        return self.fitted.vocabulary.fidelities if self.fitted.schema.fidelity is not None else ()

    def curves(self, at: Mapping[str, float], task: Label | None, fidelity: Label | None) -> xr.Dataset:
        """Slices through the place."""
        points = POINTS if self.readings.sizes["reading"] <= MANY else FEWER
        return slices(self.fitted, self.axes, at, task, fidelity, points)

    def figure(self, at: Mapping[str, float], task: Label | None, fidelity: Label | None) -> Any:
        """The picture of these slices, with the readings of that task and fidelity."""
        readings = mine(self.fitted, self.readings, task, fidelity)
        near = beside(self.axes, readings, at, MOST_DOTS)
        return figure(self.axes, self.curves(at, task, fidelity), readings, near, at, self.target)

    def table(self, at: Mapping[str, float], task: Label | None, fidelity: Label | None) -> str:
        """The curves as CSV: which input varies, all inputs, labels, mean and deviations."""
        curves = self.curves(at, task, fidelity)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        names = [axis.name for axis in self.axes]
        rows.writerow(["varies", *names, "task", "fidelity", "mean", "std", "noise_std"])
        for k, axis in enumerate(self.axes):
            curve = curves.isel(input=k)
            for i in np.flatnonzero(~np.isnan(curve["place"].to_numpy())):
                held = {name: float(value) for name, value in at.items()} | {axis.name: float(curve["place"][i])}
                place = [other.value(held[other.name]) for other in self.axes]
                numbers = [float(curve[name][i]) for name in ("mean", "std", "noise_std")]
                rows.writerow([axis.name, *place, task, fidelity, *numbers])
        return text.getvalue()

    def read(self, panel: int, x: float, y: float, at: Mapping[str, float], task: Any, fidelity: Any) -> str:
        """What a click on a panel tells: the place, the mean and both intervals there."""
        axis = self.axes[panel]
        held = {**at, axis.name: x}
        one = {other.name: ([other.value(held[other.name])], other.units) for other in self.axes}
        question = xr.Dataset({n: ("place", v, {"units": u} if u else {}) for n, (v, u) in one.items()})
        for name, label in ((self.fitted.schema.task, task), (self.fitted.schema.fidelity, fidelity)):
            if name is not None and label is not None:
                question[name] = ("place", [label])
        answer = self.fitted.predict(question)
        mean, std = float(answer["mean"][0]), float(answer["std"][0])
        noise = float(np.ravel(answer["noise_std"].to_numpy())[0])
        reading = float(np.hypot(std, 0.0 if np.isnan(noise) else noise))
        place = f"{axis.title} = {axis.value(x) if axis.labels else format(x, '.5g')}"
        return (
            f"{place}: {self.target} = {mean:.5g}; 95 % of f: {mean - HALF * std:.5g} to {mean + HALF * std:.5g}; "
            f"of a reading: {mean - HALF * reading:.5g} to {mean + HALF * reading:.5g} (clicked at {y:.5g})"
        )


def make_app(fitted: Explorable) -> Any:
    """A Dash application that shows the model.

    Raises
    ------
    MissingExtraError
        If dash isn't installed.
    DataError
        If inputs are vectors.
    """
    try:
        import dash
    except ModuleNotFoundError as error:
        raise missing_extra("dash", "explore") from error
    view = View(fitted)
    app = dash.Dash("surrogates", title=f"{fitted.schema.target} · surrogates", update_title=None, serve_locally=True)
    app.layout = _layout(view)
    _connect(app, view)
    app.server.before_request(_only_this_machine)
    return app


def _layout(view: View) -> Any:
    from dash import dcc, html

    controls: list[Any] = [html.H3(repr(view.fitted).strip("<>"), style={"fontSize": "15px", "margin": "4px 0 10px"})]
    for name, labels, chosen in (("task", view.tasks, 0), ("fidelity", view.fidelities, -1)):
        options = [{"label": str(label), "value": k} for k, label in enumerate(labels)]
        value = (len(labels) + chosen if chosen < 0 else chosen) if labels else None
        picker = dcc.Dropdown(options, value, id=name, clearable=False)
        title = getattr(view.fitted.schema, name) or name
        controls.append(html.Div([html.Label(title), picker], style={"display": "block" if labels else "none"}))
    for axis in view.axes:
        step = 1.0 if axis.labels else (axis.high - axis.low) / 200
        marks = {k: str(label) for k, label in enumerate(axis.labels)} if axis.labels else None
        slider = dcc.Slider(
            axis.low, axis.high, step, value=axis.start, marks=marks, id={**_MOVED, "name": axis.name},
            updatemode="drag", tooltip={"placement": "bottom", "always_visible": True},
        )  # fmt: skip
        controls.append(html.Div([html.Label(axis.title), slider], style={"margin": "8px 0"}))
    controls += [
        html.Button("Values as CSV", id="save"),
        dcc.Download(id="saved"),
        html.P("The camera above the picture saves it as PNG. Click on a curve to read its values."),
    ]
    saved = {"format": "png", "scale": 3, "filename": f"{view.fitted.schema.target}_slices"}
    graph = dcc.Graph(id="slices", config={"displaylogo": False, "displayModeBar": True, "toImageButtonOptions": saved})
    report = html.Details(
        [html.Summary("Health of the fit", id="ask-health"), html.Pre("", id="health")], style={"padding": "6px 18px"}
    )
    main = html.Div([html.Div(id="value", style={"minHeight": "22px"}), graph, report], style={"flex": "1 1 600px"})
    return html.Div([html.Div(controls, style=_SIDE), main], style=_PAGE)


def _connect(app: Any, view: View) -> None:
    from dash import ALL, Input, Output, State, dcc

    state = [Input({**_MOVED, "name": ALL}, "value"), Input("task", "value"), Input("fidelity", "value")]
    held = [State(part.component_id, part.component_property) for part in state]

    def place(values: Sequence[float], task: int | None, fidelity: int | None) -> tuple[Any, Any, Any]:
        at = {axis.name: float(value) for axis, value in zip(view.axes, values, strict=True)}
        labels = (None if task is None else view.tasks[task], None if fidelity is None else view.fidelities[fidelity])
        return at, *labels

    @app.callback(Output("slices", "figure"), *state)  # type: ignore[untyped-decorator]
    def draw(values: Sequence[float], task: int | None, fidelity: int | None) -> Any:
        return view.figure(*place(values, task, fidelity))

    @app.callback(Output("value", "children"), Input("slices", "clickData"), *held)  # type: ignore[untyped-decorator]
    def read(click: Any, values: Sequence[float], task: int | None, fidelity: int | None) -> str:
        if not click:
            return ""
        point = click["points"][0]
        panel = panel_of(point["curveNumber"], view.axes)
        return view.read(panel, float(point["x"]), float(point["y"]), *place(values, task, fidelity))

    @app.callback(Output("saved", "data"), Input("save", "n_clicks"), *held, prevent_initial_call=True)  # type: ignore[untyped-decorator]
    def save(clicks: int, values: Sequence[float], task: int | None, fidelity: int | None) -> Any:
        text = view.table(*place(values, task, fidelity))
        return dcc.send_string(text, f"{view.fitted.schema.target}_slices.csv")

    @app.callback(Output("health", "children"), Input("ask-health", "n_clicks"), prevent_initial_call=True)  # type: ignore[untyped-decorator]
    def report(clicks: int) -> str:
        return str(view.fitted.health())


def _only_this_machine() -> Any:
    """Refuse requests under another host's name, which pages from elsewhere could make by rebinding theirs."""
    from flask import abort, request

    if request.host.rsplit(":", 1)[0] not in ("127.0.0.1", "localhost"):
        abort(403)
