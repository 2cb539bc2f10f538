"""The judge as a scorer: what it has not judged yet is asked for, what cannot be read is asked for once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import gettempdir

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.judge import reply
from modelcheck.finetune.judge.asking import Asked, Question, Said, Server
from modelcheck.finetune.judge.cache import Verdicts, key_of
from modelcheck.finetune.judge.local import Local
from modelcheck.finetune.judge.question import Case, messages
from modelcheck.finetune.judge.reply import Vote
from modelcheck.finetune.judge.settings import Settings
from modelcheck.finetune.judge.settings import read as read_settings
from modelcheck.finetune.scorers.options import Options, Scored

# Seeds of a second attempt lie beyond those of all votes.
AGAIN = 10_000
UNREAD = Vote(None)
EMPTY = "the answer is empty: nothing to judge"
# What an answer without any verdict is worth until the gate widens its interval by it.
UNJUDGED = 0.5


class Judge:
    """Scores answers. `place` begins its messages, `asked` is what is asked, `verdicts` what has been answered."""

    def __init__(self, settings: Settings, asked: Asked, verdicts: Verdicts, place: str) -> None:
        self.settings, self.asked, self._verdicts, self._place = settings, asked, verdicts, place

    @classmethod
    def of(cls, options: Options) -> Judge:
        """The judge that a scorer's table describes. Raises UsageError naming the option that is wrong."""
        settings = read_settings(options)
        logs = options.cache.parent / "logs" if options.cache else Path(gettempdir())
        asked = Local(settings, logs / "judge.log") if settings.local else Server(settings)
        return cls(settings, asked, Verdicts(options.cache, settings.key), options.place)

    def scores(self, pairs: Sequence[tuple[str, Example]]) -> list[Scored]:
        """What answers are worth, with `reason`, `verdicts` (null: unparsable) and, if there is none, `unjudged`.

        Raises UsageError where the judge cannot be asked, or a vote stays unparsable and that is an error.
        """
        cases = [Case.of(answer, item) for answer, item in pairs]
        self._vote([case for case in cases if case.answer.strip()])
        return [self._score(case) for case in cases]

    def reply(self, case: Case) -> tuple[Said, Vote | None]:
        """One reply and the vote in it, asked for whatever is known, and not kept. Raises UsageError."""
        heard: dict[str, Said] = {}
        self.asked.ask({"trial 0": self._question(case, 0)}, heard.__setitem__)
        [said] = heard.values()
        return said, self._read(said)

    def unread(self, said: Said, where: str) -> str:
        """What a reply without a verdict that can be read is told as, and what may help."""
        room = self.settings.max_tokens
        cut = f"raise max_tokens if it was cut off (it is {room})"
        if said.cut:
            cut = f"it was cut off: raise max_tokens (it is {room})"
        elif not said.text.strip():
            cut = f"raise max_tokens (it is {room}), a model that reasons first may have spent all of it on that"
        what = f"the judge {self.settings.name} answered {_short(said.text)} {where} a verdict that can be read"
        return f"{what} ({', '.join(self.settings.grades)}): {cut}, or mend the prompt"

    def _vote(self, cases: Sequence[Case]) -> None:
        wanted = {key_of(case, vote): (case, vote) for case in cases for vote in range(self.settings.votes)}
        missing = {key: asked for key, asked in wanted.items() if self._verdicts.get(key) is None}
        first = {key: self._question(case, vote) for key, (case, vote) in missing.items()}
        unread = self._ask(first)
        second = {key: self._question(missing[key][0], missing[key][1] + AGAIN) for key in unread}
        for key, said in self._ask(second).items():
            if self.settings.unparsable == "error":
                where = f"on the answer {_short(missing[key][0].answer)}, twice without"
                more = 'or set unparsable = "count" to go on without such votes'
                raise UsageError(f"{self._place}: {self.unread(said, where)}; {more}")
            self._verdicts.add(key, UNREAD)

    def _ask(self, questions: Mapping[str, Question]) -> dict[str, Said]:
        """Keep the votes on some questions; the replies that cannot be read, by key."""
        unread: dict[str, Said] = {}

        def hear(key: str, said: Said) -> None:
            vote = self._read(said)
            if vote is None:
                unread[key] = said
            else:
                self._verdicts.add(key, vote)

        if questions:
            self.asked.ask(questions, hear)
        return unread

    def _read(self, said: Said) -> Vote | None:
        return None if said.cut else reply.read(said.text, self.settings.parse, self.settings.grades)

    def _question(self, case: Case, seed: int) -> Question:
        settings = self.settings
        return Question(messages(case, settings.prompt, settings.parse, settings.grades), seed)

    def _score(self, case: Case) -> Scored:
        if not case.answer.strip():
            return Scored(0.0, {"reason": EMPTY, "verdicts": []})
        given = [self._verdicts.get(key_of(case, vote)) or UNREAD for vote in range(self.settings.votes)]
        read = [(self.settings.grades[vote.verdict], vote.reason) for vote in given if vote.verdict is not None]
        said = {"reason": next((reason for _, reason in read), ""), "verdicts": [vote.verdict for vote in given]}
        return Scored(fmean(value for value, _ in read), said) if read else Scored(UNJUDGED, {**said, "unjudged": True})


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:60]} ... {text[-50:]}")
