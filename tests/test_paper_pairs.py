"""`python -m benchmarks paper_pairs` trains every row once and writes both tables."""

from benchmarks import paper_pairs


def test_both_tables_have_a_row_for_each_training(pair_folder, tmp_path, monkeypatch, capsys):
    trained = []

    def train(words, folder, results):
        trained.append((folder.name, [word for word in words if word.startswith(("--without", "--alpha"))]))
        return paper_pairs.train_control(pair_folder, tmp_path / "out")

    monkeypatch.setattr(paper_pairs, "train", train)
    paper_pairs.main(data_dir=pair_folder, dir=tmp_path / "out", num_iters=2, cin_iters=3)
    assert trained[:2] == [
        ("cin_gan_as_published_16_3", []),
        ("cin_gan_content_of_y_16_3", ["--without=content of y"]),
    ]
    assert trained[-7:] == [
        ("pairs_alone_16_2", []),
        ("CIN-GAN_as_published_0.3_16_3_2", ["--alpha=0.3"]),
        ("CIN-GAN_as_published_1.0_16_3_2", ["--alpha=1.0"]),
        ("CIN-GAN_without_rate_of_1e-5_0.3_16_3_2", ["--alpha=0.3"]),
        ("CIN-GAN_without_rate_of_1e-5_1.0_16_3_2", ["--alpha=1.0"]),
        ("control_0.3_16_3_2", ["--alpha=0.3"]),
        ("control_1.0_16_3_2", ["--alpha=1.0"]),
    ]
    text = (tmp_path / "out" / "paper_pairs.md").read_text()
    assert (
        sum(line.startswith("| ") for line in text.splitlines()) == 2 * 2 + 2 + 5 + 7 and "| Layers | Speckle |" in text
    )

    del trained[:]
    paper_pairs.main(data_dir=pair_folder, dir=tmp_path / "out", num_iters=2, cin_iters=3)
    assert not [name for name, _ in trained if not name.startswith("cin_gan")]
    assert (tmp_path / "out" / "paper_pairs.md").read_text() == text
