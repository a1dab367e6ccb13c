"""The `answers` workload: the question set, each question from a fresh state."""

from __future__ import annotations

from collections.abc import Callable

from harness.config.questions import Question
from harness.config.study import Answers
from harness.engines.base import Session
from harness.language.base import Tokenizer, spaces_and_digits
from harness.language.generate import Generated, generate
from harness.language.sampling import SamplingSettings
from harness.language.stopping import StopRules
from harness.language.template import fill_template
from harness.measure.job import Answered, Job
from harness.records.latency import AnswerLatency
from harness.records.record import Answer


def measure_answers(
    session: Session,
    tokenizer: Tokenizer,
    job: Job,
    answers: Answers,
    clock: Callable[[], float],
    send: Callable[[Answered], None],
) -> None:
    """Answer each of the job's questions and send the answer as it is there.

    Raises `TokenizerError` where the tokenizer is another model's, `NotANumber` for bad logits.
    """
    tokenizer.check_fits(session.capabilities.n_vocab)
    settings = sampling_settings(answers, tokenizer)
    stop = StopRules(strings=tuple(answers.stop), tokens=tuple(answers.stop_tokens))
    for question in job.questions:
        prompt = fill_template(job.prompt, question.text)
        begin = clock()
        ids = tokenizer.encode(prompt)
        tokenized = clock()
        generated = generate(
            session,
            ids,
            tokenizer,
            settings,
            stop=stop,
            max_tokens=answers.max_tokens,
            clock=clock,
            give_up_s=job.question_s,
        )
        latency = _latency(generated, tokenized - begin, clock() - begin)
        send(Answered(answer=_answer(question, generated, latency)))


def _latency(generated: Generated, tokenize_s: float, end_to_end_s: float) -> AnswerLatency:
    first = generated.first_token_s
    return AnswerLatency(
        tokenize_s=tokenize_s,
        sample_s=list(generated.sample_s),
        text_s=generated.text_s,
        first_token_s=None if first is None else tokenize_s + first,
        end_to_end_s=end_to_end_s,
    )


def sampling_settings(answers: Answers, tokenizer: Tokenizer) -> SamplingSettings:
    """How answers are drawn, in the terms of the language."""
    sampling = answers.sampling
    counted = sampling.count_spaces_and_digits or not sampling.frequency_penalty
    return SamplingSettings(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        penalty_decay=sampling.penalty_decay,
        uncounted=frozenset() if counted else spaces_and_digits(tokenizer),
        ban=tuple(sampling.ban),
        compat=sampling.compat,
        seed=sampling.seed,
    )


def _answer(question: Question, generated: Generated, latency: AnswerLatency) -> Answer:
    text = generated.text.strip()
    return Answer(
        id=question.id,
        text=text,
        token_ids=list(generated.token_ids),
        right=question.is_right(text),
        category=question.category,
        question=question.text,
        stop=generated.stop,
        stop_token=generated.stopped_by if isinstance(generated.stopped_by, int) else None,
        prompt_tokens=generated.prompt_tokens,
        prefill_s=generated.prefill_s,
        decode_s=list(generated.decode_s),
        latency=latency,
    )
