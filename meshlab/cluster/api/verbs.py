"""HTTP verbs on resources: which method of `Api` a request means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from meshlab.cluster.api import reviews, scale, usage
from meshlab.cluster.api.api import Api
from meshlab.cluster.api.auth import Auth, User
from meshlab.cluster.api.codec import Form, Renderer, accepted, decode_body, dump, object_body
from meshlab.cluster.api.conversions import settled
from meshlab.cluster.api.kinds import check_name
from meshlab.cluster.api.logs import Logs
from meshlab.cluster.api.options import check_list, check_table, delete_options, write_options
from meshlab.cluster.api.patching import TYPES, decode_patch
from meshlab.cluster.api.proxy import Proxy
from meshlab.cluster.api.rbac import Guard
from meshlab.cluster.api.registry import Resource
from meshlab.cluster.api.request import Target, flag, number
from meshlab.cluster.api.status import BadRequest, MethodNotAllowed, NotFound, UnsupportedMediaType
from meshlab.cluster.api.streams import Kubelet, Usage
from meshlab.cluster.api.watching import Watching
from meshlab.cluster.api.webhooks import Unreviewed, admitted

__all__ = ["Verbs"]

Object = dict[str, Any]
#: Kinds of which an update makes one that is not there yet, as on a real server: (group, plural) of their storage.
CREATED_BY_UPDATE = frozenset((
    ("", "endpoints"), ("", "events"), ("", "limitranges"), ("", "podtemplates"), ("", "replicationcontrollers"),
    ("", "resourcequotas"), ("", "services"), ("coordination.k8s.io", "leases"),
    *(("rbac.authorization.k8s.io", plural) for plural in (
        "roles", "rolebindings", "clusterroles", "clusterrolebindings")),
))
OPTIONS = {"POST": "Create", "PUT": "Update", "PATCH": "Patch", "DELETE": "Delete"}


class Verbs:
    def __init__(self, api: Api, auth: Auth, proxy: Proxy, kubelet: Kubelet | None, guard: Guard) -> None:
        self.api, self.auth, self.proxy, self.kubelet, self.guard = api, auth, proxy, kubelet, guard
        self.render = Renderer(api.types)
        self.watching = Watching(api, self.render)
        #: Who knows what pods use; nobody where no node runs here.
        self.usage: Usage | None = None

    async def handle(self, request: web.BaseRequest, target: Target, user: User) -> web.StreamResponse:
        """Any request below /api/ or /apis/ that is not discovery."""
        match target.subresource:
            case "proxy":
                return await self.proxy.handle(request, target)
            case "log":
                if request.method != "GET":
                    raise MethodNotAllowed
                return await Logs(self.api, self.kubelet).handle(request, target)
            case "exec" | "attach" | "portforward":
                return await self._stream(request, target, user)
        query = request.query
        match request.method:
            case "GET" | "HEAD":
                if target.watch or flag(query, "watch"):
                    if "watch" not in target.resource.verbs:
                        raise MethodNotAllowed
                    return await self.watching.handle(request, target)
                if not self.api.types.converts(target.resource):
                    return self._read(request, target)
                return await settled(self.api.types.conversions, lambda: self._read(request, target))
            case "POST":
                return await self._create(request, target, user)
            case "PUT":
                return await self._update(request, target, user)
            case "PATCH":
                return await self._patch(request, target, user)
            case "DELETE":
                return await self._delete(request, target, user)
        raise MethodNotAllowed

    async def _stream(self, request: web.BaseRequest, target: Target, user: User) -> web.StreamResponse:
        if request.method not in ("GET", "POST"):
            raise MethodNotAllowed
        # A WebSocket begins with a GET, and reading is not what it does.
        self.guard.creation(target, user)
        pod = self.api.get(target.resource, target.namespace, target.name or "")
        if target.subresource == "portforward":
            from meshlab.cluster.api.streaming.forward import forward_ports

            return await forward_ports(request, target, self.kubelet)
        from meshlab.cluster.api.streaming.console import consoles

        return await consoles(request, target, pod, self.kubelet)

    # Reading

    def _read(self, request: web.BaseRequest, target: Target) -> web.Response:
        resource, form = target.resource, accepted(request.headers.get("Accept"))
        query = request.query
        include = query.get("includeObject", "")
        if "get" not in resource.verbs:
            raise MethodNotAllowed
        if resource.group == usage.GROUP:
            found = usage.answer(
                self.api, self.usage, target, query.get("labelSelector", ""), query.get("fieldSelector", "")
            )
            return _answer(dump(found), Form())
        if form.as_ == "Table":
            check_table(include)
        if target.name is None:
            check_list(query, watch=False)
            minimum, exact = _revision(query)
            page = self.api.reader.page(
                resource, target.namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""),
                limit=max(0, number(query, "limit") or 0), token=query.get("continue", ""),
                exact=exact, minimum=minimum,
            )
            return _answer(self.render.page(resource, page, form, include), form)
        if target.subresource == "scale":
            made = scale.get(self.api, resource, target.namespace, target.name)
            return _answer(self.render.object(scale.SCALE, made, form, include), form)
        if target.subresource not in (None, "status", "approval", "ephemeralcontainers"):
            raise MethodNotAllowed
        entry = self.api.entry(resource, target.namespace, target.name)
        return _answer(self.render.one(resource, entry, form, include), form)

    # Writing

    async def _create(self, request: web.BaseRequest, target: Target, user: User) -> web.Response:
        resource, query = target.resource, request.query
        form = accepted(request.headers.get("Accept"))
        options = write_options(query, "Create")
        dry_run, validation = options.dry_run, options.validation
        if (target.name is not None and target.subresource is None) or "create" not in resource.verbs:
            raise MethodNotAllowed
        value = await self._received(request, resource)
        if target.subresource is not None:
            if target.subresource not in reviews.SUBRESOURCES:
                raise MethodNotAllowed
            made = reviews.subresource(self.api, self.auth, target, value, dry_run)
            return _answer(dump(made, form), form, 201)
        if "get" not in resource.verbs:
            access = self.guard.access
            made = reviews.create(self.api, self.auth, access, resource, target.namespace, value, user, dry_run)
            return _answer(dump(made, form), form, 201)
        value = reviews.requested(resource, value, user)
        warnings: list[str] = []
        made = await self._admitted(request, target, user, warnings, dry_run, lambda dry: self.api.create(
            resource, target.namespace, value, user=user.name, field_manager=manager_of(request),
            dry_run=dry, validation=validation, warn=warnings.append,
        ))
        return _answer(self._object(resource, target, made, form, dry_run), form, 201, warnings)

    async def _update(self, request: web.BaseRequest, target: Target, user: User) -> web.Response:
        resource, query = target.resource, request.query
        form = accepted(request.headers.get("Accept"))
        options = write_options(query, "Update")
        dry_run, validation = options.dry_run, options.validation
        if target.name is None or "update" not in resource.verbs:
            raise MethodNotAllowed
        value = await self._received(request, resource)
        warnings: list[str] = []
        name = target.name
        if self._creates(target):
            self.guard.creation(target, user)
            made = await self._admitted(request, target, user, warnings, dry_run, lambda dry: self.api.create(
                resource, target.namespace, named(resource, value, name), user=user.name,
                field_manager=manager_of(request), dry_run=dry, validation=validation, warn=warnings.append,
            ))
            return _answer(self._object(resource, target, made, form, dry_run), form, 201, warnings)
        made = await self._admitted(request, target, user, warnings, dry_run, lambda dry: self.api.update(
            resource, target.namespace, name, value, subresource=target.subresource, user=user.name,
            field_manager=manager_of(request), dry_run=dry, validation=validation, warn=warnings.append,
        ))
        return _answer(self._object(resource, target, made, form, dry_run), form, 200, warnings)

    def _creates(self, target: Target) -> bool:
        """Whether an update creates: there is no such object, and its kind is one of those that may be born so."""
        return (
            target.subresource is None and target.resource.storage in CREATED_BY_UPDATE
            and self.api.find(target.resource, target.namespace, target.name or "") is None
        )

    async def _patch(self, request: web.BaseRequest, target: Target, user: User) -> web.Response:
        resource, query = target.resource, request.query
        form = accepted(request.headers.get("Accept"))
        if target.name is None or "patch" not in resource.verbs:
            raise MethodNotAllowed
        media = request.headers.get("Content-Type", "").partition(";")[0].strip()
        kind = TYPES.get(media)
        if kind is None:
            raise UnsupportedMediaType("415: Unsupported Media Type", details={})
        options = write_options(query, "Patch", apply=kind == "apply")
        dry_run, validation = options.dry_run, options.validation
        patch = decode_patch(await request.read(), kind)
        new = kind == "apply" and target.subresource is None and self.api.find(
            resource, target.namespace, target.name
        ) is None
        if new:
            self.guard.creation(target, user)
        warnings: list[str] = []
        name = target.name
        made = await self._admitted(request, target, user, warnings, dry_run, lambda dry: self.api.patch(
            resource, target.namespace, name, patch, kind, subresource=target.subresource,
            user=user.name, field_manager=manager_of(request), force=options.force, dry_run=dry,
            validation=validation, warn=warnings.append,
        ))
        return _answer(self._object(resource, target, made, form, dry_run), form, 201 if new else 200, warnings)

    async def _delete(self, request: web.BaseRequest, target: Target, user: User) -> web.Response:
        resource, query = target.resource, request.query
        form = accepted(request.headers.get("Accept"))
        if target.subresource is not None or "delete" not in resource.verbs:
            raise MethodNotAllowed
        body = await request.read()
        media = request.headers.get("Content-Type", "")
        given = decode_body(body, media, None, self.api.types.schemas) if body else {}
        options = delete_options(query, self.api.types.decode_as("v1", "DeleteOptions", given))
        dry_run, propagation, grace = options.dry_run, options.propagation, options.grace
        warnings: list[str] = []
        if (name := target.name) is not None:
            made = await self._admitted(request, target, user, warnings, dry_run, lambda dry: self.api.delete(
                resource, target.namespace, name, propagation=propagation, uid=options.uid,
                revision=options.revision, grace=grace, dry_run=dry,
            ))
            return _answer(self.render.object(resource, made, form), form, 200, warnings)
        page = self.api.reader.page(
            resource, target.namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
        )
        for entry in page.entries:
            def remove(dry: bool, meta: Object = entry.obj["metadata"]) -> Object:
                return self.api.delete(
                    resource, meta.get("namespace"), meta["name"], propagation=propagation, grace=grace, dry_run=dry
                )

            try:
                await self._admitted(request, target, user, warnings, dry_run, remove)
            except NotFound:
                continue  # went with another of this collection
        body = await settled(self.api.types.conversions, lambda: self.render.page(resource, page, form))
        return _answer(body, form, 200, warnings)

    async def _admitted(
        self, request: web.BaseRequest, target: Target, user: User, warnings: list[str], dry_run: bool,
        write: Callable[[bool], Object],
    ) -> Object:
        """What `write(dry_run)` answers, after the webhooks that want to see it."""

        def run() -> Object:
            if request.method != "DELETE" and self.guard.concerns(target.resource, user):
                with self.api.reviewed_by(Unreviewed()):
                    rehearsed = write(True)
                self.guard.grants(target.resource, target.namespace or "", rehearsed, user)
            return write(dry_run)

        converts = self.api.types.converts(target.resource)
        if self.api.webhooks is None or not (self.api.webhooks.any() or converts):
            return run()
        options = {k: request.query[k] for k in ("fieldManager", "fieldValidation") if k in request.query}
        return await admitted(
            self.api, run, user=user.info(), options=options, warn=warnings.append, converts=converts
        )

    async def _received(self, request: web.BaseRequest, resource: Resource) -> Object:
        """The object in a request's body."""
        body, media = await request.read(), request.headers.get("Content-Type", "")
        return object_body(decode_body(body, media, resource, self.api.types.schemas), resource, body)

    def _object(self, resource: Resource, target: Target, made: Object, form: Form, dry_run: bool) -> bytes:
        """The body for an object that was just written: the stored bytes where nothing was converted."""
        if form == Form() and not dry_run and target.subresource in (None, "status"):
            meta = made["metadata"]
            entry = self.api.store.get(
                resource.collection,
                f"{meta.get('namespace', '')}/{meta['name']}" if resource.namespaced else meta["name"],
            )
            if entry is not None and entry.obj is made:
                return entry.data + b"\n"
        return self.render.object(resource, made, form)


def named(resource: Resource, obj: Object, name: str) -> Object:
    """An object with the name that its path says. BadRequest where it says another, Conflict where it is no new one."""
    meta = obj.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    check_name(meta.get("name"), name)
    if meta.get("resourceVersion") or meta.get("uid"):
        raise NotFound.of(resource, name)
    return {**obj, "metadata": {**meta, "name": name}}


def manager_of(request: web.BaseRequest) -> str:
    """The field manager of a write: as given, else the client's name up to the first slash."""
    given = request.query.get("fieldManager")
    return given or request.headers.get("User-Agent", "unknown").partition("/")[0][:128]


def _revision(query: Mapping[str, str]) -> tuple[int, int | None]:
    """(at least this revision, exactly this revision) of a list."""
    text, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if not text:
        return 0, None
    if not text.isdigit():
        raise BadRequest(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            "invalid syntax"
        )
    if match == "Exact":
        return 0, int(text)
    return int(text), None


def _answer(body: bytes, form: Form, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    response = web.Response(status=status, body=body, headers={"Content-Type": form.content_type})
    for warning in dict.fromkeys(warnings or ()):
        # A field's name may hold anything; a header may not.
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in warning)
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


