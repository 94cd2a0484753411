"""Brings files of published data sets below a data root: from a table of sources, over HTTP, whole or not at all.

    sources    the table: which address has which path below a root, how large, under which licence
    plan       what is missing, from where, how large; single images or an archive
    network    HTTP requests with retries and resumption
    replies    what a response says: the file, a part, a refusal, a page in its place
    unpack     the wanted members of an archive that may be hostile
    ledger     the sha256 of every file that was fetched
    fetch      carries out a plan, several sources at once

Everything on the way is below ROOT/.fetch, which can be deleted when no fetch is running.  No module here knows a data
set or a task.
"""
