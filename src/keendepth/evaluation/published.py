"""Published values with paper, table and row: for reading beside our own, never for comparing, since their protocols differ."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keendepth.evaluation import robustness


@dataclass(frozen=True)
class Published:
    """One number of a paper. `read` says how far it can be trusted: "paper", or "secondary" where only others' accounts of it were at hand."""

    dataset: str
    method: str
    figure: str
    value: float
    paper: str
    table: str
    row: str
    protocol: str
    read: str = "paper"


@dataclass(frozen=True)
class _Block:
    """A table as printed: columns are (data set, figure), rows are methods with one number per column, "-" for none."""

    paper: str
    table: str
    columns: tuple[tuple[str, str], ...]
    protocol: str
    rows: str
    read: str = "paper"

    def values(self) -> Iterator[Published]:
        for line in self.rows.strip().splitlines():
            method, _, numbers = (part.strip() for part in line.partition("|"))
            for (dataset, figure), number in zip(self.columns, numbers.split(), strict=True):
                if number != "-":
                    yield Published(
                        dataset, method, figure, float(number), self.paper, self.table, method, self.protocol, self.read
                    )


def _columns(datasets: Sequence[str], figures: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((dataset, figure) for dataset in datasets for figure in figures)


SDDR = "SDDR, Li et al., NeurIPS 2024, arXiv 2409.17880"
SDDR_RULES = "scale and shift per picture in z; Middlebury's reference cast to uint8; negative depths count as inliers; ORD with unpublished pairs"
SHARPDEPTH = "SharpDepth, Pham et al., CVPR 2025, arXiv 2411.18229"
SHARPDEPTH_RULES = (
    "no alignment (but where the row says so), no clipping; KITTI Eigen crop to 80 m, NYUv2 Eigen crop to 10 m"
)
PDBE_RULES = "Canny of depth and of 1/z after min-max; accuracy cut at 10 px, completeness not; no mask"
DEPTH_PRO = "Depth Pro, Bochkovskii et al., ICLR 2025, arXiv 2410.02073"
_THREE = _columns(("Middlebury2021", "Multiscopic", "Hypersim"), ("delta1", "abs_rel", "ord"))

_BLOCKS = (
    _Block(
        SDDR, "Table 1 (one-stage)", _THREE, SDDR_RULES,
        """
        MiDaS       | .868 .117 .384  .839 .130 .292  .781 .169 .344
        MiDaS+GBDF  | .871 .115 .305  .841 .129 .289  .787 .168 .338
        MiDaS+SDDR  | .879 .112 .299  .852 .122 .267  .791 .166 .318
        LeReS       | .847 .123 .326  .863 .111 .272  .853 .123 .279
        LeReS+GBDF  | .852 .122 .316  .865 .110 .270  .857 .121 .273
        LeReS+SDDR  | .862 .120 .305  .870 .108 .259  .862 .120 .273
        ZoeDepth      | .900 .104 .225  .896 .097 .205  .927 .088 .198
        ZoeDepth+GBDF | .899 .105 .226  .897 .096 .207  .925 .089 .199
        ZoeDepth+SDDR | .905 .100 .218  .904 .092 .199  .930 .086 .191
        """,
    ),
    _Block(
        SDDR, "Table 2 (two-stage)", _THREE, SDDR_RULES,
        """
        MiDaS+Boost | .870 .118 .351  .845 .126 .282  .794 .161 .332
        MiDaS+SDDR  | .871 .115 .303  .858 .120 .263  .799 .154 .322
        LeReS+Boost | .844 .131 .325  .860 .112 .278  .865 .118 .272
        LeReS+SDDR  | .861 .123 .309  .870 .109 .268  .858 .123 .271
        ZoeDepth+Boost       | .911 .099 .210  .910 .094 .197  .926 .089 .193
        ZoeDepth+PatchFusion | .887 .102 .211  .908 .095 .212  .881 .116 .258
        ZoeDepth+SDDR        | .913 .096 .202  .908 .091 .197  .933 .083 .189
        """,
    ),
    _Block(
        SDDR, "Table 3 (in the wild)", _columns(("DIML", "DIODE"), ("delta1", "abs_rel", "ord", "d3r")), SDDR_RULES,
        """
        LeReS       | .902 .101 .242 .284  .892 .105 .324 .685
        LeReS+GBDF  | .906 .100 .239 .267  .894 .105 .322 .673
        LeReS+Boost | .897 .108 .274 .438  .892 .105 .343 .640
        LeReS+SDDR  | .926 .098 .221 .220  .900 .098 .293 .637
        """,
    ),
    _Block(
        SHARPDEPTH, "Table 1 (metric accuracy)", _columns(("KITTI", "NYUv2", "ETH3D"), ("delta1", "abs_rel")), SHARPDEPTH_RULES,
        """
        UniDepth               | .98 .05  .98 .05  .25 .46
        Metric3Dv2             | .98 .05  .97 .07  .82 .14
        UniDepth-aligned Lotus | .84 .13  .94 .09  .20 .49
        PatchRefiner           | .79 .16  .01 2.48  .05 1.78
        SharpDepth             | .97 .06  .97 .06  .23 .47
        Lotus (aligned to the reference) | .88 -  .97 -  .96 -
        """,
        "secondary",
    ),
    _Block(
        SHARPDEPTH, "Table 2 (boundaries)", _columns(("Sintel", "Spring"), ("pdbe_acc", "pdbe_comp")), PDBE_RULES,
        """
        UniDepth   | 3.73 113.3  5.29 229.7
        Marigold   | 1.90 52.5   1.85 150.3
        Lotus      | 2.03 31.9   1.27 102.8
        SharpDepth | 1.94 36.2   1.24 147.6
        """,
        "secondary",
    ),
    _Block(
        SHARPDEPTH, "Table 2 (boundaries)", _columns(("iBims-1",), ("dbe_acc", "dbe_comp")),
        "annotated edges; completeness not cut at 10 px, unlike iBims-1's own script",
        """
        UniDepth   | 2.00 30.0
        Marigold   | 1.85 13.4
        Lotus      | 1.92 11.0
        SharpDepth | 1.80 13.1
        """,
        "secondary",
    ),
    _Block(
        DEPTH_PRO, "Table 2 (zero-shot boundaries)", _columns(("Sintel", "Spring", "iBims-1"), ("boundary_f1",)),
        "ratios of 1/z in four directions, no mask, no alignment",
        """
        Depth Pro         | .409 .079 .176
        Marigold          | .068 .032 .149
        Depth Anything V2 | .228 .056 .111
        PatchFusion       | .312 .032 .134
        """,
        "secondary",
    ),
    _Block(
        DEPTH_PRO, "Table 2 (zero-shot boundaries)", _columns(("AM-2k", "P3M", "DIS"), ("matte_recall",)),
        "outline of the matte above 0.1; thinned edges; recall only",
        """
        Depth Pro         | .173 .168 .077
        Marigold          | .064 .101 .049
        Depth Anything V2 | .107 .131 .056
        PatchFusion       | .061 .109 .068
        """,
        "secondary",
    ),
)  # fmt: skip

ROBODEPTH = "RoboDepth, Kong et al., NeurIPS 2023, arXiv 2310.15171"
ROBODEPTH_RULES = "self-supervised, 640 x 192, median alignment, Eigen split of KITTI, 18 corruptions at 5 severities"


@functools.cache
def everything() -> tuple[Published, ...]:
    """Every published value, those of RoboDepth's tables (`robustness.PUBLISHED`) too."""
    found = [value for block in _BLOCKS for value in block.values()]
    for method, row in robustness.PUBLISHED.items():
        for figure, value in (("dee_clean", row.clean), ("mCE", row.mce), ("mRR", row.mrr)):
            found.append(
                Published("KITTI-C", method, figure, value, ROBODEPTH, "KITTI-C results", method, ROBODEPTH_RULES)
            )
    return tuple(found)


def find(
    dataset: str | None = None, figure: str | None = None, method: str | None = None, paper: str | None = None
) -> list[Published]:
    """The values that match: data set and figure by name, method and paper by any part of theirs; letter case does not count. Nothing: []."""

    def same(wanted: str | None, own: str) -> bool:
        return wanted is None or wanted.casefold() == own.casefold()

    def within(wanted: str | None, own: str) -> bool:
        return wanted is None or wanted.casefold() in own.casefold()

    return [
        value
        for value in everything()
        if same(dataset, value.dataset)
        and same(figure, value.figure)
        and within(method, value.method)
        and within(paper, value.paper)
    ]


def datasets() -> list[str]:
    """The data sets that published values exist for."""
    return sorted({value.dataset for value in everything()})
