"""A pilot's findings in words: the verdict, the money, the cautions and the cases, in English or Japanese."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from rollwise.allocation import split_settings
from rollwise.pilot.cases import Case
from rollwise.pilot.decision import Answer
from rollwise.pilot.findings import Caution, Findings
from rollwise.pilot.power import MOST
from rollwise.report import PluralFormatter

LANGUAGES = ("en", "ja")
_NAMES = {
    Answer.INTRODUCE: "introduce",
    Answer.NO_GAIN: "no_gain",
    Answer.HARM: "harm",
    Answer.UNDECIDED: "undecided",
}
_SYMBOLS = {"reward_temperature": "T_b", "similarity_temperature": "T_s"}
_SHARES = {"share", "accuracy"}


_FORMATTER = PluralFormatter()


@cache
def catalogue(language: str) -> Mapping[str, Mapping[str, str]]:
    """The sentences and labels of a language, by section and name."""
    text = files("rollwise.pilot").joinpath("words", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


class Words:
    """Tells findings in one language."""

    def __init__(self, language: str) -> None:
        self.language, self.catalogue = language, catalogue(language)

    def say(self, section: str, name: str, **values: Any) -> str:
        """The sentence of this name, with the values in it."""
        return _FORMATTER.vformat(self.catalogue[section][name], (), values)

    def setting(self, label: str) -> str:
        """A setting as people read it: `DORA (T_b = 0.2, vote weighted by reward)`."""
        strategy, options = split_settings(label)
        vote = options.pop("vote", None)
        details = [f"{_SYMBOLS.get(name, name)} = {value}" for name, value in options.items()]
        details += [self.catalogue["votes"].get(vote, vote)] if vote is not None else []
        name = self.catalogue["strategies"].get(strategy, strategy)
        inside = ("、" if self.language == "ja" else ", ").join(details)
        brackets = "（{}）" if self.language == "ja" else " ({})"
        return name + (brackets.format(inside) if details else "")

    def verdict(self, findings: Findings) -> tuple[str, list[str]]:
        """The advice in one line, and the sentences below it."""
        decision, gain = findings.decision, findings.decision.gain
        name = _NAMES[decision.answer]
        worthwhile = plain_number(100 * decision.worthwhile)
        sentences = [
            self.say(
                "said",
                "accuracies",
                setting=self.setting(findings.chosen.variant),
                budget=findings.plan.budget,
                ours=of_hundred(findings.chosen_arm.accuracy),
                plain=of_hundred(findings.plain_arm.accuracy),
                equal=findings.equal,
                equal_count=findings.equal,
            ),
            self.say(
                "said",
                "gain",
                gain=points(gain.mean),
                low=points(gain.low),
                high=points(gain.high),
                questions=gain.questions,
            ),
            self.say("said", name, worthwhile=worthwhile),
        ]
        lead = self.say("verdict", "blind" if findings.blind else name)
        return lead, sentences + self._reach(findings, worthwhile)

    def _reach(self, findings: Findings, worthwhile: str) -> list[str]:
        """What this pilot could find, and what a decision would need."""
        decision, gain = findings.decision, findings.decision.gain
        found = []
        if decision.answer != Answer.INTRODUCE:
            reach = decision.detectable
            name = "undetectable" if reach is None else "detectable"
            found.append(self.say("said", name, detectable=f"{100 * (reach or 0):.1f}"))
        if findings.blind:
            found.append(self.say("said", "blind"))
        elif decision.answer == Answer.UNDECIDED:
            needed = decision.needed
            if needed is None:
                found.append(self.say("said", "needed_never", worthwhile=worthwhile))
            else:
                more = max(0, needed - gain.questions)
                found.append(self.say("said", "needed", worthwhile=worthwhile, needed=count(needed), more=count(more)))
            if decision.needed_for_measured is not None and gain.mean > decision.worthwhile:
                found.append(self.say("said", "needed_measured", needed=count(decision.needed_for_measured)))
        return found

    def where_from(self, findings: Findings) -> list[str]:
        """Where the gain comes from: the vote, the allocation, and what stopping early saved."""
        found = []
        voted = next((arm for arm in findings.arms if arm.family == "plain"), None)
        chosen = findings.chosen_arm
        if voted is not None and voted.gain is not None and chosen.family != "plain" and chosen.gain is not None:
            vote, whole = voted.gain.mean, chosen.gain.mean
            found.append(self.say("said", "split", vote=points(vote), allocation=points(whole - vote)))
        if chosen.saved > 0.005:
            found.append(self.say("said", "stopping", saved=f"{100 * chosen.saved:.0f}"))
        return found

    def money(self, findings: Findings, value: float | None) -> list[str]:
        """What a right answer costs, and what the setting brings on 1000 questions."""
        returns, unit = findings.returns, self.unit(findings.unit)
        ours, plain = findings.chosen_arm.cost_of_right, findings.plain_arm.cost_of_right
        found = []
        if plain is None or ours is None:
            found.append(self.say("money", "right_never"))
        else:
            found.append(self.say("money", "right", ours=amount(ours), plain=amount(plain), unit=unit))
        name = "thousand" if returns.right >= 0 else "thousand_fewer"
        low, high = (f"{number:+,.0f}".replace("-", "−") for number in (returns.low, returns.high))
        found.append(self.say("money", name, right=f"{abs(returns.right):,.0f}", low=low, high=high))
        best = max((arm for arm in findings.arms if arm.family == "plain sampling"), key=lambda arm: arm.accuracy)
        found.append(
            self.say(
                "money", "reach", plain=of_hundred(best.accuracy), budget=best.budget, cost=amount(best.cost), unit=unit
            )
        )
        if returns.worth is not None:
            name = "worth" if returns.worth >= 0 else "loses"
            told = {"value": amount(value or 0), "worth": amount(abs(returns.worth)), "unit": unit}
            found.append(self.say("money", name, **told))
        spent = {"spent": amount(findings.spent), "unit": unit}
        if returns.paid_back is None:
            return [*found, self.say("money", "spent", **spent)]
        return [*found, self.say("money", "paid_back", **spent, questions=count(returns.paid_back))]

    def larger(self, findings: Findings) -> list[str]:
        """Whether to allocate better or to buy the bigger model first; empty if no larger model was compared."""
        found = findings.larger
        if found is None:
            return []
        setting = self.setting(findings.chosen.variant)
        matched = next(arm for arm in found.arms if arm.budget == found.matched)
        gain = found.decision.gain
        sentence = self.say(
            "larger",
            _NAMES[found.decision.answer],
            setting=setting,
            budget=found.matched,
            larger=of_hundred(matched.accuracy),
            ours=of_hundred(findings.chosen_arm.accuracy),
            gain=points(gain.mean),
            low=points(gain.low),
            high=points(gain.high),
        )
        return [sentence, *([self.say("larger", "dearer", setting=setting)] if found.dearer else [])]

    def caution(self, caution: Caution) -> str:
        """A caution as a sentence."""
        values = {name: self._percent(value) if name in _SHARES else value for name, value in caution.values.items()}
        return self.say("cautions", caution.name, **values)

    def why(self, case: Case, helped: bool) -> str:
        """Why the ways differ on a question."""
        sentences = [self.say("why", case.why, **case.values)]
        if "step" in case.values and case.why != "raised":
            sentences.append(self.say("why", "turn_helped" if helped else "turn_hurt", **case.values))
        return ("" if self.language == "ja" else " ").join(sentences)

    def _percent(self, share: float) -> str:
        return f"{100 * share:.0f}%" if self.language == "ja" else f"{100 * share:.0f} %"

    def unit(self, unit: str) -> str:
        """The unit of costs as people read it."""
        return "トークン" if unit == "tokens" and self.language == "ja" else unit


def points(share: float) -> str:
    """A difference of shares in points with its sign: +4.5."""
    return f"{100 * share:+z.1f}".replace("-", "−")


def of_hundred(share: float) -> str:
    """A share as a number of 100, without needless digits."""
    return plain_number(round(100 * share, 1))


def plain_number(value: float) -> str:
    """A number without needless digits."""
    return f"{value:g}"


def amount(value: float) -> str:
    """An amount of money or tokens in three significant digits, or in whole units from 1000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def count(value: int) -> str:
    """A number of questions: rounded to two digits from 1000 on."""
    assert value <= 10 * MOST
    return f"{round(value, -2):,}" if value >= 1000 else str(value)
