"""What a person can mend, told in one line; `train.py` prints it without a stack trace."""


class Failure(Exception):
    """A file is broken or the machine refused."""

    exit_code = 1


class Misuse(Failure):
    """The command line or the recipe asks for something that is not there."""

    exit_code = 2
