"""What comes before training takes names and paths, and needs no torch."""

import subprocess
import sys

from conftest import World


def test_a_corpus_and_a_lexicon_are_built_without_torch(world: World, tmp_path: object) -> None:
    script = (
        "import sys, lilliput\n"
        "teacher, text, run = sys.argv[1:]\n"
        "lilliput.build_corpus(text, teacher, run, workers=1)\n"
        "lilliput.vocabulary(run, teacher, [300])\n"
        "config = lilliput.Recipe.from_dict(lilliput.find_recipe('tiny').to_dict()).lexicon\n"
        "lilliput.build_lexicon(run, teacher, config)\n"
        "sys.exit(str({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, world.teacher, str(world.text), f"{tmp_path}/run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "set()"
