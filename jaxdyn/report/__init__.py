"""Pages for people: one HTML file with pictures, curves and tables of what a network did, and nothing to fetch.

    sections -> write(path, title, sections)

Sections are records (`Tiles`, `Facts`, `Table`, `Plot`, `Bars`, `Viewer`, `Notes`, or `Row`, which sets some side by
side); each says by `html()` what stands on the page. `jaxdyn.report.job` makes the page of a job on a video.
"""

from jaxdyn.report.charts import Bars, Plot, Series
from jaxdyn.report.page import check_path, write
from jaxdyn.report.sections import Facts, Notes, Row, Section, Table, Tiles
from jaxdyn.report.viewer import Legend, Shot, Viewer, block_legends, scale_legends

__all__ = [
    "Bars",
    "Facts",
    "Legend",
    "Notes",
    "Plot",
    "Row",
    "Section",
    "Series",
    "Shot",
    "Table",
    "Tiles",
    "Viewer",
    "block_legends",
    "check_path",
    "scale_legends",
    "write",
]
