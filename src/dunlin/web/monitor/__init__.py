"""The monitor: pages of the service for people, below `monitor.root_path`.

Theory. A page is drawn on the server from what ledger and queue say at that moment, and is whole without a script:
links, forms that ask (GET) and forms that change something (POST, then a redirect). The script does one thing more:
when the service has news (`/api/v1/events`), and every few seconds, it fetches the page again and puts in what differs
in the parts that are marked `data-live`. So there is one way of drawing each thing, and no state in the browser.

    shell      the frame of every page, who may do what, the answers to forms
    depth      how many tasks waited, over the last hour
    overview   queues, workers, jobs that go on      jobs       jobs, one job, its files
    tasks      the tasks of a queue, one task        schedules  schedules, and a form for new ones

Whoever may look may look here (viewer); orders are for operators, and with `monitor.read_only_mode` for nobody: then no
form is drawn, and none is taken.
"""

from dunlin.web.monitor.routes import routes

__all__ = ["routes"]
