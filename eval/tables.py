"""Records as tables for people."""

from collections.abc import Sequence

from rich import console, table

from eval import evaluate, upscaling


def show(
    title: str, records: Sequence[evaluate.Record], has_ssim: bool = False, out: console.Console | None = None
) -> None:
    """Print the means by clip, what is gained over exit 0, and how the finders decide.

    Args:
      title: of the table.
      records: what `evaluate.evaluate` gave.
      has_ssim: whether the records hold SSIM.
      out: where to; the terminal by default.
    """
    out = out or console.Console(width=max(console.Console().width, 120))
    means, shares = evaluate.mean_by_clip(records), evaluate.mean_by_clip(records, "share")
    ways = list(means["mean"])
    printed = table.Table("clip", *ways, "share of dense", title=f"{title}: RGB PSNR, dB")
    for clip, row in means.items():
        printed.add_row(clip, *(f"{row[way]:.2f}" for way in ways), f"{shares[clip]['share']:.1%}")
    gains = means["mean"]
    printed.add_row("over exit 0", *(f"{gains[way] - gains['exit 0']:+.2f}" for way in ways), "")
    out.print(printed)
    if has_ssim:
        similar = table.Table("clip", *ways, title=f"{title}: SSIM")
        for clip, row in evaluate.mean_by_clip(records, "ssim").items():
            similar.add_row(clip, *(f"{row[way]:.4f}" for way in ways))
        out.print(similar)
    scales, depths = (
        [sum(column) for column in zip(*(getattr(record, what) for record in records), strict=True)]
        for what in ("scales", "depths")
    )
    out.print(f"patches that are computed, by scale 1, 1/2, 1/4: {scales}; all patches by exit, from 0: {depths}")


def show_upscaling(title: str, records: Sequence[upscaling.Record], out: console.Console | None = None) -> None:
    """Print the means by clip, one line for each way of upscaling.

    Args:
      title: of the table.
      records: what `upscaling.evaluate` gave.
      out: where to; the terminal by default.
    """
    out = out or console.Console(width=max(console.Console().width, 120))
    psnr, ssim, share = (evaluate.mean_by_clip(records, what) for what in ("psnr", "ssim", "share"))
    printed = table.Table("way", *psnr, "share of dense", title=f"{title}: PSNR, dB / SSIM of luma")
    for way in psnr["mean"]:
        scores = (f"{psnr[clip][way]:.2f} / {ssim[clip][way]:.4f}" for clip in psnr)
        printed.add_row(way, *scores, f"{share['mean'][way]:.1%}" if way != "bicubic" else "")
    out.print(printed)
