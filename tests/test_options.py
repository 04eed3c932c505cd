"""The arguments of a training: parsed once, never changed, each with its rule for a resumed run."""

from dataclasses import FrozenInstanceError

import pytest

from training.options import TRAININGS, CGANOptions, LengthOptions

# Whatever changes the mathematics of a training. A checkpoint holds these names, those of earlier versions too.
FIXED = "batch_size images_limit unpaired_limit eval_limit no_rotate precision vgg_weights seed "
OWN = {"train_CIN_GAN": "recipe n_critic", "train_cGAN": "recipe cin_augment alpha"}
OWN["train_baseline"] = "method augment n_critic"


@pytest.mark.parametrize("command", list(TRAININGS))
def test_a_resumed_run_must_agree_in_what_changes_the_mathematics(command):
    assert TRAININGS[command]().fixed().keys() == set((FIXED + OWN[command]).split())


@pytest.mark.parametrize("command", list(TRAININGS))
def test_every_flag_of_the_parser_reaches_the_options(command):
    parser = TRAININGS[command].parser("")
    args = parser.parse_args(["--method=care"] * (command == "train_baseline"))
    assert TRAININGS[command].read(args).values() == vars(args)


def test_what_the_command_line_leaves_open_is_filled_in_and_not_called_given():
    parser = CGANOptions.parser("")
    open_, given = (CGANOptions.read(parser.parse_args(words), batch_size=7) for words in ([], ["--batch_size=3"]))
    assert (open_.length.batch_size, given.length.batch_size) == (7, 3)
    assert (open_.not_default, given.not_default) == ((), ("batch_size",))
    default = CGANOptions.read(parser.parse_args(["--alpha=0.3", "--tasks=A"]))
    assert default.not_default == ("tasks",) and default.named == {"alpha", "tasks"}


def test_options_are_never_changed():
    with pytest.raises(FrozenInstanceError):
        CGANOptions().alpha = 1.0
    with pytest.raises(FrozenInstanceError):
        LengthOptions().num_iters = 1


@pytest.mark.parametrize(
    ("iterations", "images", "given", "interval"),
    [
        (3000, 3, None, 60),
        (10**6, 3, None, 500),
        (10, 0, None, 1),
        (51, 1, None, 2),
        (600, 92, None, 115),
        (9, 3, 4, 4),
    ],
)
def test_a_fiftieth_of_a_training_is_between_evaluations_and_more_with_many_test_images(
    iterations, images, given, interval
):
    length = LengthOptions(batch_size=8, num_iters=iterations, eval_every=given)
    assert length.evaluation_interval(images) == interval
