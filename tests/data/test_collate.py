"""Batches: exactly the tokenizer's tokens, the right identities, hard negatives that are none of the answer's group."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hybrid.data import joining
from hybrid.data.assembly import Assembler, WorkerAssembler
from hybrid.data.collate import Collator
from hybrid.data.config import DataConfig, DatasetConfig
from hybrid.data.load import load_corpora
from hybrid.data.sentences import candidate_text
from hybrid.data.store import token_store
from tests.data.toy import ARTICLES, TRANSLATED, make_config, make_corpus, names_of

PREFIXES = {"query": "query: ", "passage": "passage: "}


@dataclass
class Rows:
    """As the sampler gives them."""

    rows: np.ndarray
    step: int = 0
    kind: str = "mixed"
    streams: np.ndarray | None = None


def every_row(corpora) -> Rows:
    """Return a row for each item and pair of languages that it has, data sets and languages mixed."""
    languages = sorted({code for corpus in corpora for code in corpus.languages})
    number = [[languages.index(code) for code in corpus.languages] for corpus in corpora]
    rows = [
        (place, item, number[place][query], number[place][passage])
        for place, corpus in enumerate(corpora)
        for block in corpus.blocks
        for item in range(block.start, block.stop)
        for query in block.languages
        for passage in block.passages
    ]
    return Rows(np.random.default_rng(0).permutation(np.array(rows, np.int64)))


def texts_of(corpora, rows: Rows) -> tuple[list[str], list[str]]:
    """Return the query and the passage of each row, as plain text."""
    languages = sorted({code for corpus in corpora for code in corpus.languages})
    queries, passages = [], []
    for place, item, query, passage in rows.rows.tolist():
        corpus, tables = corpora[place], corpora[place].tables
        q, p = (np.array([corpus.languages.index(languages[language])]) for language in (query, passage))
        queries.append(corpus.texts[tables.query_text[corpus.query_rows(np.array([item]), q)[0]]])
        answer = tables.answer[corpus.passage_rows(np.array([item]), p)[0]]
        sentence, paragraph = tables.candidate_sentence[answer], corpus.texts[tables.candidate_passage[answer]]
        passages.append(candidate_text(corpus.texts[sentence], paragraph) if sentence >= 0 else paragraph)
    return queries, passages


def split(ragged) -> list[list[int]]:
    return [part.tolist() for part in ragged.ids.split(ragged.lengths.tolist())]


def make(tmp_path, tokenizer, corpora, config, prefixes=PREFIXES) -> Collator:
    return Collator(corpora, token_store(corpora, tokenizer, tmp_path), config, tokenizer, prefixes)


@pytest.fixture
def two(tmp_path):
    """Two data sets: the toy corpus, and German questions of its own."""
    config = make_config(tmp_path, {"en": ARTICLES, "de": TRANSLATED}, hard_negatives=1)
    own = {"Schnee": [("Schnee fiel. Es war kalt. Niemand kam.", [("s1", "Was fiel?", "Schnee")])]}
    make_corpus(tmp_path / "b", {"de": own | {"Tee": TRANSLATED["Tea"]}})
    config.sets["other"] = DatasetConfig(files={"de": str(tmp_path / "b" / "de.json")})
    return load_corpora(config).train, config


@pytest.mark.parametrize("lengths", [(64, 256), (9, 14), (4, 4)])
@pytest.mark.parametrize("prefixes", [PREFIXES, {"query": "", "passage": ""}])
def test_tokens_are_those_of_the_joined_text_cut_by_the_tokenizer(tmp_path, two, tokenizer, lengths, prefixes):
    corpora, config = two
    config.query_max_length, config.passage_max_length = lengths
    collator, rows = make(tmp_path, tokenizer, corpora, config, prefixes), every_row(corpora)
    assert isinstance(collator.assemble, Assembler)
    batch, (queries, passages) = collator(rows), texts_of(corpora, rows)
    for side, ragged, texts, length in (
        ("query", batch.queries, queries, lengths[0]),
        ("passage", batch.passages, passages, lengths[1]),
    ):
        whole = [prefixes[side] + text for text in texts]
        assert split(ragged)[: len(texts)] == tokenizer(whole, truncation=True, max_length=length)["input_ids"]


def test_word_pieces_with_one_special_token_are_joined_as_well(tmp_path, two):
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=["[UNK]", "</s>"], show_progress=False)
    backend.train_from_iterator([context for content in ARTICLES.values() for context, _ in content], trainer)
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    corpora, config = two
    collator, rows = make(tmp_path, tokenizer, corpora, replace(config, passage_max_length=30)), every_row(corpora)
    assert isinstance(collator.assemble, Assembler)
    passages = [f"passage: {text}" for text in texts_of(corpora, rows)[1]]
    expected = tokenizer(passages, truncation=True, max_length=30)["input_ids"]
    assert split(collator(rows).passages)[: len(passages)] == expected


def test_a_tokenizer_that_cannot_be_joined_is_served_in_the_worker(tmp_path, two, capsys):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    backend.train_from_iterator(
        ["query: passage: the"], trainers.BpeTrainer(special_tokens=special, show_progress=False)
    )
    ends = [(token, backend.token_to_id(token)) for token in special[:2]]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    corpora, config = two
    collator, rows = make(tmp_path, tokenizer, corpora, config), every_row(corpora)
    assert isinstance(collator.assemble, WorkerAssembler)
    assert "token store cannot serve" in capsys.readouterr().err
    queries, passages = texts_of(corpora, rows)
    batch = collator(rows)
    assert split(batch.queries) == tokenizer([f"query: {text}" for text in queries])["input_ids"]
    expected = tokenizer([f"passage: {text}" for text in passages], truncation=True, max_length=256)["input_ids"]
    assert split(batch.passages)[: len(passages)] == expected


def test_groups_are_of_the_text_alone_over_languages_and_data_sets(tmp_path, two, tokenizer):
    corpora, config = two
    batch, rows = make(tmp_path, tokenizer, corpora, config)(every_row(corpora)), every_row(corpora)
    names = [corpora[place].item_name(item) for place, item, _, _ in rows.rows.tolist()]
    by_name = {
        name: {g for n, g in zip(names, batch.query_groups.tolist(), strict=True) if n == name} for name in names
    }
    assert all(len(groups) == 1 for groups in by_name.values())
    assert by_name["b2"] == by_name["b3"]  # one sentence answers both
    assert len(set.union(*by_name.values())) == len(by_name) - 1 == 5  # t1 of both data sets is one
    assert batch.passage_groups[: len(names)].tolist() == batch.query_groups.tolist()


def test_a_second_start_reads_the_groups_of_all_data_sets_and_no_table_of_theirs(tmp_path, two, tokenizer, monkeypatch):
    corpora, config = two
    first = make(tmp_path, tokenizer, corpora, config).joint_group
    monkeypatch.setattr(joining, "_joint_groups", None)
    for corpus in corpora:
        monkeypatch.setattr(corpus, "tables", None)
    again = joining.joint_groups(corpora, config.cache)
    assert [groups.tolist() for groups in again] == [groups.tolist() for groups in first]


def test_hard_negatives_are_other_sentences_of_the_own_paragraph(tmp_path, two, tokenizer):
    corpora, config = two
    collator, rows = make(tmp_path, tokenizer, corpora, replace(config, hard_negatives=9)), every_row(corpora)
    batch = collator(rows)
    count, owners = len(rows.rows), batch.negative_owner.tolist()
    assert len(batch.passages) == count + len(owners) > count
    assert owners == sorted(owners)
    assert (batch.passage_groups[count:] != batch.query_groups[batch.negative_owner]).all()
    _, passages = texts_of(corpora, rows)
    found = {}
    for owner, ids in zip(owners, split(batch.passages)[count:], strict=True):
        found.setdefault(owner, []).append(tokenizer.decode(ids, skip_special_tokens=True))
    for owner, negatives in found.items():
        sentences = {"1894": 2, "Engineers": 1, "Ingenieure": 1, "Schnee fiel": 2}
        expected = next((n for word, n in sentences.items() if word in passages[owner]), 1)
        assert len(negatives) == len(set(negatives)) == expected, passages[owner]


def test_hard_negatives_can_be_in_the_language_of_the_query(tmp_path, two, tokenizer):
    corpora, config = two
    settings = replace(config, hard_negatives=9, negative_language="query")
    rows = every_row(corpora)
    batch = make(tmp_path, tokenizer, corpora, settings)(rows)
    assert (batch.passage_groups[len(rows.rows) :] != batch.query_groups[batch.negative_owner]).all()
    query_language = rows.rows[batch.negative_owner, 2]
    in_german = [sorted({c for corpus in corpora for c in corpus.languages})[n] == "de" for n in query_language]
    german = {"Sie", "Die", "Holz", "Ingenieure", "Schiffe", "Tee", "Es", "Niemand"}
    for ids, wanted in zip(split(batch.passages)[len(rows.rows) :], in_german, strict=True):
        text = tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "").replace("▁", " ")
        assert any(f" {word} " in f"{text} " for word in german) == wanted, text


def test_negatives_change_with_the_step_and_the_seed_but_not_with_the_rank(tmp_path, tokenizer):
    sentences = " ".join(f"Fact {n} is here." for n in range(30))
    qas = [(str(n), f"Which {n}?", f"Fact {n} is") for n in range(30)]
    config = make_config(tmp_path, {"en": {"A": [(sentences, qas)]}}, hard_negatives=2)
    corpora = load_corpora(config).train
    collator, rows = make(tmp_path, tokenizer, corpora, config), every_row(corpora)
    whole = collator(rows)
    halves = [collator(replace(rows, rows=part)) for part in np.split(rows.rows, 2)]
    count = len(rows.rows)
    groups = [half.passage_groups[count // 2 :].tolist() for half in halves]
    assert whole.passage_groups[count:].tolist() == groups[0] + groups[1]
    assert split(whole.passages)[count:] == [ids for half in halves for ids in split(half.passages)[count // 2 :]]
    for other in (collator(replace(rows, step=1)), make(tmp_path, tokenizer, corpora, replace(config, seed=1))(rows)):
        assert other.passage_groups[:count].equal(whole.passage_groups[:count])
        assert not other.passage_groups[count:].equal(whole.passage_groups[count:])
    drawn = np.concatenate([collator(replace(rows, step=step)).passage_groups[count:] for step in range(60)])
    counts = np.bincount(drawn, minlength=30)
    assert counts.min() > 60 < counts.max() < 200  # 120 each are expected


def test_without_hard_negatives_there_are_none(tmp_path, two, tokenizer):
    corpora, config = two
    batch = make(tmp_path, tokenizer, corpora, DataConfig(sets=config.sets))(every_row(corpora))
    assert len(batch.passages) == len(batch.queries) == len(batch.passage_groups)
    assert len(batch.negative_owner) == 0


def test_paragraphs_as_passages_stand_alone(tmp_path, tokenizer):
    config = make_config(tmp_path, {"en": ARTICLES}, passage="paragraph")
    corpora = load_corpora(config).train
    rows = every_row(corpora)
    batch = make(tmp_path, tokenizer, corpora, config)(rows)
    texts = [f"passage: {text}" for text in texts_of(corpora, rows)[1]]
    assert set(texts_of(corpora, rows)[1]) == {context for content in ARTICLES.values() for context, _ in content}
    assert split(batch.passages) == tokenizer(texts)["input_ids"]
    assert len(names_of(corpora[0])) == 5
