"""The tree of names that `fab --list` shows."""

from invoke.collection import Collection

from tasks import app, db, deploy, gunicorn, lab, nginx, python, system

ns = Collection(deploy.deploy, deploy.update, deploy.rollback, deploy.status)
for module in (system, python, app, gunicorn, nginx, db, lab):
    ns.add_collection(Collection.from_module(module))
