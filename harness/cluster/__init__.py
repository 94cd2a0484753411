"""The same questions over many workers: a cluster of models is itself a `core.Model`.

    dispatcher.py   which worker gets which questions, and what happens when it dies; no network, no clock of its own
    worker.py       what runs on a worker: builds the model, answers chunks
    connection.py   the connection to Ray, and the options of a run on it
    ray_calls.py    independent calls, such as the cells of a study, as Ray tasks
    ray_cluster.py  workers as Ray actors, and the loop that feeds them

The driver holds the queue, and the store's keys decide what is answered; Ray only starts, restarts and carries.
"""
