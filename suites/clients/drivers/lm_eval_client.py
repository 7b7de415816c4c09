"""EleutherAI's lm-eval: loglikelihood and generation on a task of this folder."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

from checks import MODEL, MODEL_PATH, URL, check, run
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

FOLDER = Path(tempfile.mkdtemp())
DOCUMENTS = [
    {"text": "Alice was beginning to get very", "right": 0, "choices": [" tired", " purple"]},
    {"text": "The White", "right": 0, "choices": [" Rabbit", " zzq"]},
]
(FOLDER / "documents.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)))
DATA = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(FOLDER / "documents.jsonl")}},
    "test_split": "test",
    "doc_to_text": "{{text}}",
    "target_delimiter": "",
}
CHOICES = DATA | {
    "task": "local_choices",
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "right",
    "metric_list": [{"metric": "acc"}],
}
GENERATION = DATA | {
    "task": "local_generation",
    "output_type": "generate_until",
    "doc_to_target": "{{choices[right]}}",
    "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 8, "temperature": 0},
    "metric_list": [{"metric": "exact_match"}],
}
for task in (CHOICES, GENERATION):
    (FOLDER / f"{task['task']}.yaml").write_text(json.dumps(task))


def evaluate(model: str, task: str, endpoint: str, **options: object) -> dict[str, float]:
    settings = {
        "model": MODEL,
        "base_url": f"{URL}/{endpoint}",
        "tokenizer": MODEL_PATH,
        "num_concurrent": 2,
        "max_retries": 1,
        "max_length": 1024,
    }
    scores: dict[str, float] = simple_evaluate(
        model=model,
        model_args=settings,
        tasks=[task],
        task_manager=TaskManager(include_path=str(FOLDER), include_defaults=False),
        bootstrap_iters=0,
        **options,
    )["results"][task]
    return scores


@check
def compares_loglikelihoods() -> None:
    assert evaluate("local-completions", "local_choices", "completions")["acc,none"] == 1.0


@check
def generates_text() -> None:
    score = evaluate("local-completions", "local_generation", "completions")
    assert not math.isnan(score["exact_match,none"])


@check
def generates_by_chat() -> None:
    score = evaluate(
        "local-chat-completions", "local_generation", "chat/completions", apply_chat_template=True
    )
    assert not math.isnan(score["exact_match,none"])


run("lm-eval")
