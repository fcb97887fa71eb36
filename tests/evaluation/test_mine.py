"""Mined negatives: never an answer, never its translation, inside the window and the margin, readable for training."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from hybrid.data.config import DatasetConfig
from hybrid.data.records import Paragraph, Question
from hybrid.evaluation.asked import data_set, from_paragraphs, read_asked
from hybrid.evaluation.config import EncodingConfig, SearchConfig
from hybrid.evaluation.crossing import CrossEncoder, pair_probabilities
from hybrid.evaluation.mine import mine
from hybrid.evaluation.negatives import MiningConfig, choose, document_groups, normalised
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.search import Found
from hybrid.runtime.errors import InputError
from tests.evaluation.conftest import byte_tokenizer


def paragraphs():
    """Six paragraphs in two languages; the third also names the answer of the first."""
    made: dict[str, list[Paragraph]] = {"de": [], "en": []}
    for code, texts in made.items():
        for number in range(6):
            answer = f"ANSWER{number}"
            context = f"{code} text {number} says {answer}" + (" and Answer0" if number == 2 else "")
            question = Question(f"q{number}", f"{code} what {number}?", context.index(answer), answer)
            texts.append(Paragraph("a", context, [(0, len(context))], [question]))
    return made


@pytest.fixture
def pool():
    collection = passage_collection(paragraphs(), "paragraph")
    answers = [{normalised(f"ANSWER{number}")} for number in range(6)]
    rows = np.tile(np.arange(12), (12, 1))
    own = {query: doc for query, doc in collection.relevant.tolist() if (query < 6) == (doc < 6)}
    for query in range(12):  # the own positive third, all others in order
        rest = [row for row in range(12) if row != own[query]]
        rows[query] = [*rest[:2], own[query], *rest[2:]]
    scores = np.tile(np.linspace(0.9, 0.35, 12, dtype=np.float32), (12, 1))
    return collection, answers, Found(rows, scores), scores[:, 2]


def test_translations_of_a_paragraph_are_one_group(pool):
    group = document_groups(pool[0])
    assert group[:6].tolist() == group[6:].tolist()
    assert len(set(group)) == 6


def test_no_negative_answers_the_question_is_its_positive_or_nearer_than_that(pool):
    collection, _, found, _ = pool
    mined = choose(*pool, MiningConfig(last_rank=12))
    group = document_groups(collection)
    for query, kept in enumerate(mined.negatives):
        assert kept
        for row in kept:
            assert group[row] != group[query % 6]
            assert f"answer{query % 6}" not in collection.documents.texts[row].casefold()
            assert list(found.rows[query]).index(row) > 2
    assert {"same group", "contains the answer", "too near to the positive", "kept"} <= mined.counts.keys()


def test_a_passage_with_the_answer_in_any_language_is_no_negative():
    made = paragraphs()
    for code, answer in (("de", "Wien"), ("en", "Vienna")):
        first, other = made[code][0], made[code][3]
        first.questions[0] = Question("q0", f"{code} what 0?", 0, answer)
        others = {"de": "Vienna", "en": "Wien"}
        made[code][3] = Paragraph("a", f"{other.context} {others[code].upper()}", other.sentences, other.questions)
    collection = passage_collection(made, "paragraph")
    answers = from_paragraphs(made).answers
    assert answers[0] == {"wien", "vienna"}
    found = Found(np.tile(np.arange(12), (12, 1)), np.tile(np.linspace(0.9, 0.35, 12, dtype=np.float32), (12, 1)))
    positive = np.full(12, 0.9, np.float32)
    kept = choose(collection, answers, found, positive, MiningConfig(last_rank=12, margin=-1)).negatives[0]
    assert 4 in kept
    assert not {3, 9} & set(kept)


def test_every_candidate_is_counted_once(pool):
    mined = choose(*pool, MiningConfig(last_rank=10, count=2))
    assert sum(mined.counts.values()) == pool[2].rows.size
    assert mined.counts["kept"] == sum(mined.ranks.values()) == sum(map(len, mined.negatives))
    assert mined.counts["outside the window"] == 2 * 12


def test_the_cross_encoder_removes_what_it_takes_for_answers_and_the_next_take_their_place(pool):
    rows = pool[2].rows
    config = MiningConfig(last_rank=12, margin=-1, ratio=3, count=2, filter="x", filter_depth=4)
    free = choose(*pool, MiningConfig(last_rank=12, margin=-1, ratio=3, count=12)).negatives
    asked = []

    def relevance(pairs):
        asked.extend(pairs.tolist())
        return np.where(pairs[:, 1] == rows[pairs[:, 0], 0], 0.5, 0.49)  # the first candidate is an answer

    mined = choose(*pool, config, relevance)
    for query, kept in enumerate(mined.negatives):
        assert [row for number, row in asked if number == query] == free[query][:4]
        assert kept == [row for row in free[query][:4] if row != rows[query, 0]][:2]
    assert sum(mined.counts.values()) == rows.size
    assert mined.counts["an answer to the cross-encoder"] > 0


@pytest.mark.parametrize("languages", ["own", "others", "both"])
def test_ranks_are_counted_among_the_languages_asked_for(encoder, tmp_path, languages):
    asked = from_paragraphs(paragraphs())
    config = MiningConfig(last_rank=6, languages=languages, count=6, margin=-2, ratio=9)
    settings = [EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    mined = mine(encoder, asked, tmp_path / "pairs.jsonl", config, *settings)
    assert sum(mined.counts.values()) == 12 * 6
    assert not {"beyond the pool", "no positive"} & mined.counts.keys()
    same = {(row < 6) == (query < 6) for query, kept in enumerate(mined.negatives) for row in kept}
    assert same == {"own": {True}, "others": {False}, "both": {True, False}}[languages]
    if languages != "both":  # All six of a language but the question's own, and the third, which has its answer.
        assert {len(kept) for query, kept in enumerate(mined.negatives) if query % 6} == {5}


def test_an_approximate_index_reports_its_recall_of_the_exact_candidates(encoder, tmp_path):
    pytest.importorskip("faiss")
    asked, config = from_paragraphs(paragraphs()), MiningConfig(last_rank=6, languages="own")
    told = {}
    for name, search in (
        ("exact", {}),
        ("whole", {"backend": "faiss", "factory": "IVF2,Flat", "parameters": "nprobe=2"}),
        ("part", {"backend": "faiss", "factory": "IVF2,Flat", "parameters": "nprobe=1"}),
    ):
        mine(
            encoder,
            asked,
            tmp_path / f"{name}.jsonl",
            config,
            EncodingConfig(precision="fp32"),
            SearchConfig(device="cpu", **search),
        )
        told[name] = json.loads((tmp_path / f"{name}.mined.json").read_text()).get("recall of search")
    assert (told["exact"], told["whole"]) == (None, 1.0)
    assert 0 < told["part"] < 1


def test_languages_that_no_passage_is_in_are_refused_before_encoding(tmp_path):
    asked = from_paragraphs({"de": paragraphs()["de"]})
    with pytest.raises(InputError, match=r"languages is 'others', but no question \(languages: de\) has passages"):
        mine(None, asked, tmp_path / "x", MiningConfig(languages="others"), EncodingConfig(), SearchConfig())


def test_window_margin_ratio_and_count_bound_what_is_kept(pool):
    found = pool[2]
    for config in (
        MiningConfig(first_rank=5, last_rank=8),
        MiningConfig(last_rank=12, margin=0.2),
        MiningConfig(last_rank=12, ratio=0.7),
        MiningConfig(last_rank=12, count=2),
    ):
        for query, kept in enumerate(choose(*pool, config).negatives):
            ranks = [list(found.rows[query]).index(row) + 1 for row in kept]
            scores = found.scores[query][np.array(ranks, int) - 1]
            assert all(config.first_rank <= rank <= config.last_rank for rank in ranks)
            assert (scores < found.scores[query][2] - config.margin).all()
            assert (scores < found.scores[query][2] * config.ratio).all()
            assert len(kept) <= config.count


def test_a_positive_outside_the_window_is_held_against_its_own_score(pool):
    collection, answers, found, scores = pool
    without = Found(np.array([[row for row in line if row % 6 != 4] for line in found.rows]), found.scores[:, :10])
    for positive in (0.95, 0.6):
        scores[4] = positive
        kept = choose(collection, answers, without, scores, MiningConfig(last_rank=12, count=12)).negatives[4]
        assert kept == without.rows[4][without.scores[4] < np.float32(positive)].tolist()
        assert kept


def test_a_question_whose_passage_ranks_below_the_window_has_no_negative_unless_the_margin_lets_it_and_is_counted(pool):
    collection, answers, found, scores = pool
    without = Found(np.array([[row for row in line if row % 6 != 4] for line in found.rows]), found.scores[:, :10])
    scores[4] = 0.3
    mined = choose(collection, answers, without, scores, MiningConfig(last_rank=10, count=10))
    assert (mined.negatives[4], mined.beneath) == ([], 1)
    assert choose(collection, answers, without, scores, MiningConfig(last_rank=4, margin=0.1)).beneath == 12
    assert choose(collection, answers, without, scores, MiningConfig(last_rank=6, margin=0.1)).beneath == 1
    free = choose(collection, answers, without, scores, MiningConfig(last_rank=10, count=10, margin=-2, ratio=9))
    assert len(free.negatives[4]) == 10
    assert free.beneath == 0


@pytest.mark.parametrize("positive", [0.5, -0.5])
def test_the_relative_margin_is_a_part_of_the_scores_size_whatever_its_sign(pool, positive):
    collection, answers, _, scores = pool
    line = np.full(12, positive, np.float32) - np.linspace(0.005, 0.115, 12, dtype=np.float32)
    found = Found(np.tile(np.arange(12), (12, 1)), np.tile(line, (12, 1)))
    scores[:] = positive
    for query, kept in enumerate(
        choose(collection, answers, found, scores, MiningConfig(ratio=0.9, count=12)).negatives
    ):
        # Those more than a tenth of 0.5 below, less the question's own and one with its answer.
        own = {query % 6, query % 6 + 6} | ({2, 8} if query % 6 == 0 else set())
        assert kept == [row for row in range(5, 12) if row not in own]


def test_questions_with_fewer_negatives_than_asked_for_are_told(encoder, tmp_path, capsys):
    settings = [EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    mined = mine(encoder, from_paragraphs(paragraphs()), tmp_path / "pairs.jsonl", MiningConfig(last_rank=2), *settings)
    none = sum(not kept for kept in mined.negatives)
    assert f"12 of 12 questions have fewer than 8 negatives, {none} have none" in capsys.readouterr().err
    told = json.loads((tmp_path / "pairs.mined.json").read_text())["questions"]
    assert told == {"all": 12, "fewer negatives than asked for": 12, "no negative": none} | {
        "nothing in the window far enough below the positive": mined.beneath
    }


def test_a_window_that_is_none_and_a_filter_that_reads_too_little_are_refused():
    with pytest.raises(InputError, match="first_rank is 9, last_rank 3"):
        MiningConfig(first_rank=9, last_rank=3)
    with pytest.raises(InputError, match=r"filter_depth is 5, less than mining.count \(8\)"):
        MiningConfig(filter="x", filter_depth=5)


def cross_encoder(folder, labels: int) -> CrossEncoder:
    """A small random classifier of pairs."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    tokenizer = byte_tokenizer()
    config = XLMRobertaConfig(vocab_size=len(tokenizer), num_labels=labels, initializer_range=0.3, **shape)
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return CrossEncoder(str(folder), torch.device("cpu"))


@pytest.mark.parametrize("labels", [1, 2])
def test_probabilities_are_those_of_single_pairs_and_a_killed_job_computes_only_what_is_missing(
    tmp_path, monkeypatch, labels
):
    monkeypatch.setattr("hybrid.evaluation.vectors._FEWEST_ROWS", 4)
    encoder = cross_encoder(tmp_path / "cross", labels)
    pairs = [(f"what {number}?", f"passage {'x' * (number % 5)} {number}") for number in range(10)]
    settings = {"max_length": 64, "batch_tokens": 128, "precision": "fp32"}
    found = pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)
    with torch.no_grad():
        alone = np.concatenate([encoder.probabilities([query], [text], 64) for query, text in pairs])
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert ((found > 0) & (found < 1)).all()
    assert len(set(found.tolist())) == 10
    (tmp_path / "shards" / "00001.npy").unlink()
    sizes, forward = [], encoder.probabilities
    monkeypatch.setattr(encoder, "probabilities", lambda q, p, n: sizes.append(len(q)) or forward(q, p, n))
    np.testing.assert_array_equal(pair_probabilities(encoder, pairs, tmp_path / "shards", **settings), found)
    assert sum(sizes) == 4
    pair_probabilities(encoder, [*pairs[:-1], ("other", "pair")], tmp_path / "shards", **settings)
    assert sum(sizes) == 14


def test_a_judgment_that_is_no_number_is_refused_with_its_texts_and_never_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("hybrid.evaluation.vectors._FEWEST_ROWS", 4)
    encoder = cross_encoder(tmp_path / "cross", 1)
    pairs = [(f"what {number}?", f"passage {number}") for number in range(10)]
    settings = {"max_length": 64, "batch_tokens": 128, "precision": "fp32"}
    whole = encoder.probabilities
    monkeypatch.setattr(
        encoder, "probabilities", lambda q, p, n: np.where(np.array(q) == "what 5?", np.nan, whole(q, p, n))
    )
    message = r"judgments of 1 pairs are not finite \(first: 'what 5\?' with 'passage 5'\)"
    with pytest.raises(InputError, match=message):
        pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)
    assert sorted(path.name for path in (tmp_path / "shards").glob("*.npy")) == ["00000.npy"]
    monkeypatch.undo()
    monkeypatch.setattr("hybrid.evaluation.vectors._FEWEST_ROWS", 4)
    found = pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)
    assert np.isfinite(found).all()
    found[5] = np.nan  # of a job before such judgments were refused
    np.save(tmp_path / "shards" / "00001.npy", found[4:8])
    with pytest.raises(InputError, match=message):
        pair_probabilities(encoder, pairs, tmp_path / "shards", **settings)


def test_a_filter_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be loaded"):
        CrossEncoder(str(tmp_path / "nowhere"), torch.device("cpu"))
    with pytest.raises(InputError, match="has 3 labels; expected one, or two"):
        cross_encoder(tmp_path / "cross", 3)


def test_a_killed_job_goes_on_with_embeddings_and_judgments_and_writes_the_same(encoder, tmp_path, monkeypatch):
    cross = cross_encoder(tmp_path / "cross", 1)
    made = paragraphs()
    with torch.no_grad():
        asked, read = made["de"][0].questions[0].question, [p.context for code in made for p in made[code]]
        below = float(np.median(cross.probabilities([asked] * len(read), read, 320)))
    config = MiningConfig(last_rank=12, count=3, margin=-2.0, ratio=2.0, filter="cross", filter_below=below)
    settings = [config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu")]
    monkeypatch.setattr("hybrid.evaluation.mine.write_pairs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mine(encoder, from_paragraphs(paragraphs()), tmp_path / "pairs.jsonl", *settings, cross)
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "forward", None)
        patch.setattr(cross, "probabilities", None)
        mined = mine(encoder, from_paragraphs(paragraphs()), tmp_path / "pairs.jsonl", *settings, cross)
    fresh = mine(encoder, from_paragraphs(paragraphs()), tmp_path / "fresh.jsonl", *settings, cross)
    assert mined == fresh
    assert (tmp_path / "pairs.jsonl").read_text() == (tmp_path / "fresh.jsonl").read_text()
    counts = json.loads((tmp_path / "pairs.mined.json").read_text())
    assert counts["candidates"]["an answer to the cross-encoder"] > 0
    assert sum(counts["kept by rank"]) == counts["candidates"]["kept"] == sum(map(len, mined.negatives))


def test_what_is_written_trains(encoder, tmp_path):
    config = MiningConfig(last_rank=12, count=3, ratio=2.0, margin=-2.0)
    out = tmp_path / "pairs.jsonl"
    mined = mine(
        encoder,
        from_paragraphs(paragraphs()),
        out,
        config,
        EncodingConfig(precision="fp32"),
        SearchConfig(device="cpu"),
    )
    lines = [json.loads(line) for line in out.open()]
    assert len(lines) == 12
    assert sum(len(line["negatives"]) for line in lines) == sum(mined.ranks.values()) > 12
    texts = passage_collection(paragraphs(), "paragraph").documents.texts
    assert [line["negatives"] for line in lines] == [[texts[row] for row in rows] for rows in mined.negatives]
    assert [line["passage"] for line in lines] == list(texts)
    assert (tmp_path / "pairs.png").exists()
    from hybrid.data.columns import Columns, pair_rows
    from hybrid.data.report import Report

    rows = list(pair_rows(str(out), None, Columns(DatasetConfig(files=str(out)), "data"), Report("mined")))
    assert [row.negatives for row in rows] == [line["negatives"] for line in lines]
    assert len({row.group for row in rows}) == 6


def test_pairs_are_mined_whatever_the_form_of_their_files(encoder, tmp_path):
    rows = [
        {
            "query": f"what {n}?",
            "passage": f"Antwort {n % 5} hier",
            "query_lang": "en",
            "passage_lang": "de",
            "id": f"{n}",
        }
        for n in range(6)
    ]
    rows += [rows[0] | {"query": "was 0?", "query_lang": "de", "passage": "Antwort 0 hier"}]
    rows[1] |= {"group": "one"}
    rows[2] |= {"group": "one"}
    names = ["query", "passage", "query_lang", "passage_lang", "id", "group"]
    table = {name: [row.get(name, "") for row in rows] for name in names}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with gzip.open(tmp_path / "pairs.tsv.gz", "wt") as file:
        file.writelines("\t".join(line) + "\n" for line in (names, *zip(*table.values(), strict=True)))
    parquet.write_table(pa.table(table), tmp_path / "pairs.parquet")
    found = [
        read_asked(data_set(str(tmp_path / f"pairs{ending}"), DatasetConfig()))
        for ending in (".jsonl", ".tsv.gz", ".parquet")
    ]
    assert len({asked.collection.content for asked in found}) == 1
    config = MiningConfig(last_rank=5, count=5, ratio=2.0, margin=-2.0)
    out = tmp_path / "mined.jsonl"
    mine(encoder, found[0], out, config, EncodingConfig(precision="fp32"), SearchConfig(device="cpu"))
    lines = [json.loads(line) for line in out.open()]
    assert [(line["query_lang"], line["passage_lang"]) for line in lines] == [("en", "de")] * 6 + [("de", "de")]
    assert [line["passage"] for line in lines] == [row["passage"] for row in rows]
    for number, line in enumerate(lines):
        # Question 5 asks for the passage of question 0; 1 and 2 are of one group.
        own = {1, 2} if number in (1, 2) else {number % 6 % 5}
        assert {int(text.split()[1]) for text in line["negatives"]} == set(range(5)) - own


@pytest.mark.parametrize("form", ["squad", "lareqa"])
def test_only_the_languages_that_are_named_are_mined(tmp_path, form):
    for code in ("de", "en", "fi"):
        answer = {"text": code, "answer_start": 0}
        question = {"id": "q", "question": f"{code} what?", "answers": [answer]}
        paragraph = {"context": f"{code} says so.", "qas": [question], "sentence_breaks": [[0, 11]]}
        content = {"data": [{"title": "a", "paragraphs": [paragraph]}]}
        (tmp_path / f"dev.{code}.json").write_text(json.dumps(content))
    files = str(tmp_path / "dev.{language}.json")

    def languages(named):
        return read_asked(data_set(files, DatasetConfig(format=form, languages=named))).collection.languages

    assert languages(None) == ("de", "en", "fi")
    assert languages(["fi", "en"]) == ("en", "fi")
    with pytest.raises(InputError, match=r"languages names 'sv', but --dataset.files has de, en, fi"):
        languages(["de", "sv"])


@pytest.mark.parametrize("by_language", [False, True])
def test_files_in_lareqas_form_are_read_as_such_and_all_their_paragraphs_are_candidates(tmp_path, by_language):
    question = {"id": "q", "question": "what?", "answers": [{"text": "One", "answer_start": 0}]}
    breaks = [[0, 4], [5, 9]]
    content = [
        {"context": "One. Two.", "sentence_breaks": breaks, "qas": [question]},
        {"context": "Six. Ten.", "sentence_breaks": breaks, "qas": []},
    ]
    path = tmp_path / "dev.en.json"
    files = {"en": str(path)} if by_language else str(tmp_path / "dev.{language}.json")
    config = DatasetConfig(format="lareqa", files=files)
    path.write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    assert list(read_asked(config).collection.documents.texts) == ["One. Two.", "Six. Ten."]
    del content[1]["sentence_breaks"]
    path.write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    with pytest.raises(InputError, match='"sentence_breaks" of paragraph 1'):
        read_asked(config)


def test_an_empty_paragraph_is_no_candidate_and_is_told(tmp_path, capsys):
    question = {"id": "q", "question": "what?", "answers": [{"text": "One", "answer_start": 0}]}
    content = [{"context": "One. Two.", "qas": [question]}, {"context": " ", "qas": []}]
    (tmp_path / "dev.en.json").write_text(json.dumps({"data": [{"title": "a", "paragraphs": content}]}))
    asked = read_asked(data_set(str(tmp_path / "dev.{language}.json"), DatasetConfig()))
    assert list(asked.collection.documents.texts) == ["One. Two."]
    assert "--data: 1 rows: empty paragraph, such as en, a" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["max_items", "max_length"])
def test_settings_of_a_data_set_that_hold_in_training_alone_are_refused_before_files_are_read(key):
    with pytest.raises(InputError, match=rf"--dataset.{key} is 5, which mining does not follow; remove it"):
        read_asked(data_set("nowhere.{language}.json", DatasetConfig(**{key: 5})))


def test_a_data_set_that_cannot_be_mined_is_refused():
    with pytest.raises(InputError, match="format is 'lines', which has no questions"):
        read_asked(DatasetConfig(format="lines", files="x"))
    with pytest.raises(InputError, match="both set"):
        data_set("x.jsonl", DatasetConfig(format="hub", hub="y"))
    with pytest.raises(InputError, match="there is no such file"):
        read_asked(data_set("nowhere.jsonl", DatasetConfig()))
