"""Pages of results: the same files on disk (`report`) and from a server on this machine (`view`).

    given.py        what the pages are made of: runs, and the samples of a run
    chunks.py       the data of the pages as script files, because a page opened from disk cannot fetch
    overview.py     the data of the first page: models, tasks, runs and the leaderboard
    leaderboard.py  the best models and the rank intervals of one column
    commands.py     the commands that fill empty cells of the leaderboard
    samples.py      the samples of a run: an index for the grid, and the details of each sample
    shapes.py       boxes, quads, outlines and masks as plain lists
    prompts.py      the prompts of a sample, as they were sent
    tokens.py       the location tokens of a raw output, linked to the coordinates that were parsed from them
    analysis.py     the charts of a run, and the paired difference of two runs
    pairs.py        the pairs of runs that the pages on disk compare
    extras.py       speed, studies, paper tables and the data engine, as the pages show them
    pictures.py     images of data sets as JPEG files of bounded size
    page.py         index.html, the files beside it, and the content security policy
    static.py       writes all of them to a folder
    server.py       serves all of them on the loopback address
    app/            the pages themselves: JavaScript and CSS without a build step

Text from data becomes text on a page, never markup.  d3 draws the charts; it is copied from the package mpld3.
"""
