"""A result in one page: the test clips with truth, answers and all that may tell why an answer is wrong."""

from mse.browse.clips import Result, read_result
from mse.browse.page import write_page

__all__ = ["Result", "read_result", "write_page"]
