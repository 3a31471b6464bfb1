"""The tasks: one module a namespace, as `fab --list` and `decant --list` show them.

A fabfile needs one line, `from decant.tasks import ns`; tasks of your own are added to it:
`ns.add_task(mine)`.
"""

import fabric.main
from invoke.collection import Collection

from decant.commands.executor import Executor
from decant.tasks import (
    apache,
    app,
    backup,
    certbot,
    db,
    deploy,
    gunicorn,
    heroku,
    lab,
    mod_wsgi,
    nginx,
    python,
    supervisor,
    system,
    uwsgi,
)

ns = Collection(
    deploy.deploy, deploy.update, deploy.rollback, deploy.status, deploy.destroy, deploy.rebuild
)
for module in (
    system,
    python,
    app,
    gunicorn,
    uwsgi,
    mod_wsgi,
    supervisor,
    nginx,
    apache,
    certbot,
    db,
    backup,
    heroku,
    lab,
):
    ns.add_collection(Collection.from_module(module))

# Under `fab`, -H names are the hosts of hosts.toml. No fabric.yaml beside each fabfile has to say
# so.
fabric.main.program.executor_class = Executor
