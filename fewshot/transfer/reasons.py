"""The words of an advice: why, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fewshot.transfer.advice import Option
from fewshot.transfer.advice_tables import duration
from fewshot.transfer.encoder_scores import EncoderScores
from fewshot.transfer.folds import Folds
from fewshot.transfer.race import Race
from fewshot.transfer.verdict import NegativeTransfer

_UNEVEN = 1.5  # times the rows of the smallest class
_FEW = 30  # held-out rows below which an interval is wider than most differences
_NEAR = 1.0  # proxy A-distance below which domains count as near: a linear rule errs on a quarter of the rows


def _effort(choice: Option) -> str:
    """What an option takes on all rows, as far as it is known: results that were read from a file tell no times."""
    parts = [f"takes about {duration(choice.seconds)}"] if choice.seconds is not None else []
    parts += [f"trains {choice.trained:,} numbers"] if choice.trained else []
    return f"; on all rows it {' and '.join(parts)}" if parts else ""


def reasons(options: Sequence[Option], scores: Sequence[EncoderScores], transfer: NegativeTransfer | None) -> list[str]:
    """Why the first option is the choice."""
    choice, rest = options[0], [option for option in options[1:] if option.comparison is not None]
    assert choice.result is not None
    found = [
        f"{choice.strategy} on {choice.encoder} answers {100 * choice.result.mean:.1f} % of {choice.result.episodes} "
        f"held-out rows right{_effort(choice)}"
    ]
    ahead = [option for option in rest if option.comparison is not None and option.comparison.difference > 0]
    if ahead and choice.expected is not None:
        other = max(ahead, key=lambda option: option.comparison.difference if option.comparison else 0.0)
        assert other.comparison is not None
        found.append(
            f"{other.name} answered more of the {other.comparison.episodes} rows that both answered "
            f"({other.comparison.written()} points), but so few rows say little; with what such strategies gained on "
            f"other sets, {100 * choice.expected:.1f} % is expected of the choice and "
            f"{100 * (other.expected or 0.0):.1f} % of the other"
        )
    if rest and rest[0].comparison is not None:
        first = rest[0].comparison
        sure = first.difference + first.ci95 < 0
        found.append(
            f"next is {rest[0].name}, {'clearly worse' if sure else 'too close to call'}: {first.written()} points on "
            f"{first.episodes} rows"
        )
    close = [option for option in rest if option.comparison is not None and option.seconds is not None
             and option.comparison.difference + option.comparison.ci95 >= 0]  # fmt: skip
    if close and choice.seconds:
        cheap = min(close, key=lambda option: option.seconds or 0.0)
        if (cheap.seconds or 0.0) < choice.seconds / 3:
            found.append(
                f"{cheap.name} cannot be told apart from it and takes {duration(cheap.seconds)}: take that where time "
                "counts"
            )
    frozen = [o for o in options if o.kind == "transfer" and o.strategy in ("logistic", "linear-probe") and o.result]
    deeper = [o for o in options if o.kind == "transfer" and o.strategy not in ("logistic", "linear-probe")
              and o.result]  # fmt: skip
    if frozen and deeper and choice.kind == "transfer":
        clear = all(option.comparison is not None and option.comparison.difference + option.comparison.ci95 < 0
                    for option in (frozen if choice in deeper else deeper))  # fmt: skip
        shown = "pays here" if choice in deeper else "does not pay here"
        found.append(f"training more of the network {shown}" if clear else
                     "whether training more of the network pays here is not shown by so few rows")  # fmt: skip
    top = max(scores, key=lambda one: one.logme, default=None)
    if top is not None and len(scores) > 1:
        agrees = "agrees" if top.encoder == choice.encoder else "does not agree"
        found.append(f"LogME, which sees features only, {agrees}: it is highest for {top.encoder}")
    for one in scores:
        if one.a_distance is not None and one.encoder == choice.encoder:
            near = "near" if one.a_distance < _NEAR else "far from"
            found.append(f"the rows lie {near} the source sample (proxy A-distance {one.a_distance:.2f} of 2)")
    if transfer is not None and transfer.warning:
        found.append(transfer.warning)
    return found


def reasons_of_scores(scores: Sequence[EncoderScores]) -> list[str]:
    """What scores say where nothing was trained."""
    if not scores:
        return []
    top = max(scores, key=lambda one: one.left_out)
    return [
        f"nothing was trained; by rows left out of a nearest mean or a ridge regression, {top.encoder} does best "
        f"({100 * top.left_out:.1f} %)"
    ]


def limits(race: Race | None, options: Sequence[Option], parts: Folds) -> list[str]:
    """What so few rows, or so little time, cannot tell."""
    found = list(parts.notes)
    if race is None:
        return [*found, "no strategy was tried: it was interrupted before"]
    if not race.sizes:
        return [*found, "no strategy was tried: there was no time but for scores"]
    tried = [option for option in options if option.result is not None]
    if not tried:
        return [*found, "nothing could be tried within the budget; give more minutes, or fewer encoders and strategies"]
    rows = tried[0].result.episodes if tried[0].result is not None else 0
    if rows < _FEW:
        found.append(f"{rows} held-out rows decided; differences of less than {100 / max(rows, 1) ** 0.5:.0f} points "
                     "are chance as likely as not")  # fmt: skip
    found += _unevenness(race, parts)
    size = tried[0].size or 0
    if size < parts.largest:
        found.append(
            f"time allowed episodes of {size} rows a class at the most, of {parts.largest} there are: with all of "
            "them, strategies that train more of a network may gain"
        )
    late = [option for option in options if option.result is None and "no time" in option.status]
    if late:
        known = [option.seconds for option in late if option.seconds is not None]
        more = f"; all folds of the cheapest of them take about {duration(parts.count * min(known))}" if known else ""
        found.append("the budget was too small to try " + ", ".join(option.name for option in late) + more)
    unlikely = [option.name for option in options if "unlikely to lead" in option.status]
    if unlikely:
        found.append("not tried, since other results make it unlikely that they lead: " + ", ".join(unlikely))
    found += [f"{option.name}: {option.status}" for option in options
              if option.status.startswith(("not possible", "failed"))]  # fmt: skip
    found.append(
        "intervals are over held-out rows; other rows to learn from, or rows of another origin, may change more"
    )
    return found


def _unevenness(race: Race, parts: Folds) -> list[str]:
    """Where classes differ in size: accuracy is over rows, so that the larger ones decide it."""
    choice, labels = race.standings.choice(), parts.source.labels
    counts = torch.bincount(labels)
    if choice is None or choice.size is None or int(counts.max()) < _UNEVEN * int(counts.min()):
        return []
    asked = torch.cat([labels[parts.rows(fold, choice.size)[1]] for fold in range(len(choice.parts[choice.size]))])
    right = torch.from_numpy(race.joined(choice, choice.size).scores).double()  # [Q]
    each = torch.bincount(asked, right) / torch.bincount(asked)  # [C]
    commonest = float((asked == counts.argmax()).double().mean())
    return [
        f"classes have {int(counts.min())} to {int(counts.max())} rows, and accuracy is over rows: the mean over "
        f"classes of the choice is {100 * float(each.nanmean()):.1f} %, and always the largest class would be right in "
        f"{100 * commonest:.1f} % of the rows"
    ]
