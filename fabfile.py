"""The tree of names that `fab --list` shows."""

from invoke.collection import Collection

from decant.tasks import apache, app, certbot, db, deploy, gunicorn, lab, mod_wsgi, nginx, python, supervisor, system, uwsgi

ns = Collection(deploy.deploy, deploy.update, deploy.rollback, deploy.status, deploy.destroy)
for module in (system, python, app, gunicorn, uwsgi, mod_wsgi, supervisor, nginx, apache, certbot, db, lab):
    ns.add_collection(Collection.from_module(module))
