"""A white card with a drawing: boxes, arrows, text and thumbnails in one style. A unit is a pixel, y runs down."""

from itertools import pairwise

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from common.files import written_whole

WIDTH = 850  # pixels; the width of a README on GitHub
INK, FAINT, LINE = "#1f2328", "#57606a", "#8c959f"
# (fill, edge) of what restores, of what makes defects, of data, of what all share.
RESTORES, DEFECTS, DATA, NEUTRAL = (
    ("#ddeeff", "#2f6db5"),
    ("#ffe8d1", "#b8620b"),
    ("#ffffff", "#57606a"),
    ("#eef1f4", "#57606a"),
)
# Glyphs as outlines, so that no viewer's font can clip a text; no date and no random names, so that a file only
# changes when the drawing does.
STYLE = {"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "svg.hashsalt": "illustrations"}
PIXELS_PER_INCH, POINTS_PER_PIXEL = 96, 0.75


class Card:
    """One drawing of WIDTH x `height` pixels, white whatever is behind it."""

    def __init__(self, height):
        with rc_context(STYLE):
            self.figure = Figure(figsize=(WIDTH / PIXELS_PER_INCH, height / PIXELS_PER_INCH))
            FigureCanvasAgg(self.figure)
            self.figure.patch.set_alpha(0)
            self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.set_axis_off()
        self.box(2, 2, WIDTH - 4, height - 4, ("#ffffff", "#d0d7de"), radius=10)

    def box(self, left, top, width, height, colours, text="", size=13, dashed=False, radius=5, bold=False):
        """A rounded box with centred text; `size` in pixels."""
        fill, edge = colours
        shape = f"round,pad=0,rounding_size={radius}"
        style = {"facecolor": fill, "edgecolor": edge, "linewidth": 1.0, "linestyle": (0, (4, 3)) if dashed else "-"}
        self.axes.add_patch(FancyBboxPatch((left, top), width, height, boxstyle=shape, **style))
        if text:
            self.text(left + width / 2, top + height / 2, text, size, ha="center", bold=bold)

    def text(self, x, y, text, size=13, colour=INK, ha="left", va="center", bold=False, rotation=0):
        """Text of `size` pixels at (x, y), turned by `rotation` degrees; mathematics between dollar signs."""
        style = {"fontsize": size * POINTS_PER_PIXEL, "color": colour, "linespacing": 1.35, "rotation": rotation}
        with rc_context(STYLE):
            self.axes.text(x, y, text, ha=ha, va=va, weight="bold" if bold else "normal", **style)

    def arrow(self, *points, colour=FAINT):
        """A line through (x, y) points that ends in an arrow head."""
        for (x0, y0), (x1, y1) in pairwise(points[:-1]):
            self.axes.plot((x0, x1), (y0, y1), color=colour, linewidth=1.3, solid_capstyle="round")
        style = {"arrowstyle": "-|>,head_length=5,head_width=2.5", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 1}
        self.axes.add_patch(FancyArrowPatch(*points[-2:], color=colour, linewidth=1.3, joinstyle="miter", **style))

    def image(self, left, top, side, image, limits):
        """A square gray image, black at the first and white at the second of `limits`."""
        low, high = limits
        extent = (left, left + side, top + side, top)
        self.axes.imshow(image, "gray", vmin=low, vmax=high, extent=extent, interpolation="none", zorder=3)
        self.axes.set(xlim=(0, WIDTH), ylim=self.axes.get_ylim(), aspect="auto")
        frame = {"fill": False, "edgecolor": INK, "linewidth": 0.8, "zorder": 4}
        self.axes.add_patch(Rectangle((left, top), side, side, **frame))

    def cells(self, left, top, rows, columns, side, colours, chosen):
        """A table of empty cells, in which the row `chosen` is filled."""
        for row in range(rows):
            fill, edge = colours if row == chosen else ("#ffffff", LINE)
            for column in range(columns):
                corner = (left + column * side, top + row * side)
                style = {"facecolor": fill, "edgecolor": edge, "linewidth": 0.8, "zorder": 2 if row == chosen else 1}
                self.axes.add_patch(Rectangle(corner, side, side, **style))

    def save(self, path):
        """Write the drawing, whole or not at all, with all its texts as its description."""
        metadata = {"Date": None, "Description": self.description()}
        with rc_context(STYLE), written_whole(path) as beside:
            self.figure.savefig(beside, metadata=metadata)

    def description(self):
        """All texts, one a line."""
        return "\n".join(text.get_text() for text in self.axes.texts)

    def clipped(self):
        """The texts that reach beyond the card."""
        window = self.figure.bbox
        texts = {text.get_text(): text.get_window_extent() for text in self.axes.texts}
        return [name for name, box in texts.items() if not (window.contains(*box.min) and window.contains(*box.max))]
