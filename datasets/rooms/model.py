"""The text of an EnergyPlus model of one room with a packaged terminal air conditioner."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from .climates import Climate
from .room import BRICK, CONCRETE, GYPSUM, GYPSUM_THICKNESS, HEIGHT, WINDOW_U, Room

#: of EnergyPlus, by our names; the order of the columns we read
OUTPUTS = {
    "indoor_temperature": "Zone Mean Air Temperature",
    "outdoor_temperature": "Site Outdoor Air Drybulb Temperature",
    "direct_normal_irradiance": "Site Direct Solar Radiation Rate per Area",
    "diffuse_horizontal_irradiance": "Site Diffuse Solar Radiation Rate per Area",
    "humidity_ratio": "Site Outdoor Air Humidity Ratio",
    "coil": "Cooling Coil Electricity Rate",
    "fan": "Fan Electricity Rate",
}
# The sun's path is computed anew each day: by default EnergyPlus takes the mean over 20 days, or over a shorter run, so
# that a short run would not give the same. North axes count only with *relative* geometry; with World EnergyPlus ignores
# them. The design day stands in May, whose sun is July's, since the set-points of that day are constant, so that a
# unit's size doesn't depend on the random ones.
COMMON = """
Version,25.2;  SimulationControl,Yes,No,No,No,Yes,No,1;  Timestep,12;
Building,B,{north},City,.04,.4,FullExterior,25,6;  GlobalGeometryRules,UpperLeftCorner,CounterClockWise,Relative;
SurfaceConvectionAlgorithm:Inside,TARP;  SurfaceConvectionAlgorithm:Outside,DOE-2;
HeatBalanceAlgorithm,ConductionTransferFunction;  ShadowCalculation,PolygonClipping,Periodic,1;
RunPeriod,R,{first.month},{first.day},{first.year},{last.month},{last.day},{last.year},{weekday},No,No,No,Yes,Yes;
SizingPeriod:DesignDay,CD,5,21,SummerDesignDay,{climate.dry_bulb},{climate.daily_range},DefaultMultipliers,,Wetbulb,
    {climate.wet_bulb},,,,,{climate.pressure},4,180,No,No,No,ASHRAEClearSky,,,,,1;
SizingPeriod:DesignDay,HD,1,21,WinterDesignDay,0,0,DefaultMultipliers,,Wetbulb,0,,,,,{climate.pressure},3,0,No,No,No,
    ASHRAEClearSky,,,,,0;
Material,Brick,Rough,{room.brick_thickness},{brick};  Material,Gypsum,Smooth,{gypsum_thickness},{gypsum};
Material,Concrete,Rough,{room.slab_thickness},{concrete};  Material:NoMass,Insulation,Rough,{room.insulation};
WindowMaterial:SimpleGlazingSystem,Glazing,{window_u},{room.shgc};  Construction,Window,Glazing;
Construction,Wall,{wall},Gypsum;  Construction,Roof,Insulation,Concrete,Gypsum;  Construction,Floor,Concrete;
Zone,Z,0,0,0,0,1,1;  ScheduleTypeLimits,Any;  ScheduleTypeLimits,Temperature,-60,200,Continuous,Temperature;
ScheduleTypeLimits,Fraction,0,1,Continuous;
Schedule:Compact,On,Any,Through: 12/31,For: AllDays,Until: 24:00,1;
Schedule:Compact,Heating,Temperature,Through: 12/31,For: AllDays,Until: 24:00,-30;
Schedule:Compact,Activity,Any,Through: 12/31,For: AllDays,Until: 24:00,120;
Schedule:File,Cooling,Temperature,{file},1,0,8760,Comma,No,15,No;
Schedule:Compact,Occupancy,Fraction,Through: 12/31,For: Weekdays SummerDesignDay,Until: {arrive},.1,Until: {leave},.9,
    Until: 24:00,.2,For: AllOtherDays,Until: 24:00,.1;
People,Persons,Z,Occupancy,People,{room.occupants},,,0.3,,Activity;
ElectricEquipment,Equipment,Z,Occupancy,Watts/Area,,{room.equipment},,0,0.3,0;
ZoneInfiltration:DesignFlowRate,Infiltration,Z,On,AirChanges/Hour,,,,{room.infiltration},1,0,0,0;
HVACTemplate:Thermostat,Thermostat,Heating,,Cooling,;
HVACTemplate:Zone:PTAC,Z,Thermostat,autosize,autosize,,,{room.sizing_factor},Flow/Zone,,,0.0,,,DrawThrough,0.7,75,0.9,
    SingleSpeedDX,,autosize,autosize,{room.cop},Electric,,autosize;
OutputControl:Files,Yes,No,No,Yes,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No,No;
"""


def model_text(room: Room, climate: Climate, set_point_file: Path, *, first: date, last: date) -> str:
    """The input file of a run from `first` to `last` (inclusive) with one set-point per 15 min of the year in a file."""
    text = COMMON.format(
        north=room.north_axis,
        first=first,
        last=last,
        weekday=first.strftime("%A"),
        climate=climate,
        room=room,
        brick=_material(BRICK),
        gypsum=_material(GYPSUM),
        gypsum_thickness=GYPSUM_THICKNESS,
        concrete=_material(CONCRETE),
        window_u=WINDOW_U,
        wall="Insulation,Brick" if room.is_insulated_outside else "Brick,Insulation",
        file=set_point_file,
        arrive=_clock(room.occupied_from),
        leave=_clock(room.occupied_until),
    )
    outputs = "".join(f"Output:Variable,*,{name},Timestep;" for name in OUTPUTS.values())
    return (text + _surfaces(room) + outputs).replace(";", ";\n")


def _material(properties: tuple[float, float, float]) -> str:
    return ",".join(map(str, properties))


def _clock(hour: float) -> str:
    return f"{int(hour)}:{round(hour % 1 * 60):02d}"


def _surfaces(room: Room) -> str:
    """Walls, roof, floor and windows; corners from the upper left one, counter-clockwise seen from outside."""
    side, h = room.side, HEIGHT
    corners = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)]
    text = ""
    for k, name in enumerate(("South", "East", "North", "West")):
        (a, b), (c, d) = corners[k], corners[(k + 1) % 4]
        text += (
            f"BuildingSurface:Detailed,{name},Wall,Wall,Z,,Outdoors,,SunExposed,WindExposed,,4,"
            f"{a},{b},{h},{a},{b},0,{c},{d},0,{c},{d},{h};"
        )
    text += (
        f"BuildingSurface:Detailed,Top,Roof,Roof,Z,,Outdoors,,SunExposed,WindExposed,,4,"
        f"0,0,{h},{side},0,{h},{side},{side},{h},0,{side},{h};"
        f"BuildingSurface:Detailed,Bottom,Floor,Floor,Z,,Adiabatic,,NoSun,NoWind,,4,"
        f"0,{side},0,{side},{side},0,{side},0,0,0,0,0;"
    )
    high, low = 0.8 * h, 0.2 * h  # a band of 0.6 of the height, as wide as the ratio asks
    x, y = (side * (1 - ratio / 0.6) / 2 for ratio in (room.window_wall_ratio, room.second_window_wall_ratio))
    text += (
        f"FenestrationSurface:Detailed,Main,Window,Window,South,,,,1,4,"
        f"{x},0,{high},{x},0,{low},{side - x},0,{low},{side - x},0,{high};"
    )
    if room.second_window_wall_ratio:
        text += (
            f"FenestrationSurface:Detailed,Second,Window,Window,East,,,,1,4,"
            f"{side},{y},{high},{side},{y},{low},{side},{side - y},{low},{side},{side - y},{high};"
        )
    return text
