"""PersistentVolumeClaims: bound to a volume, and kept while a pod uses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlab.cluster.api.status import AlreadyExists
from meshlab.cluster.controllers.events import Recorder
from meshlab.cluster.controllers.objects import Key, Obj, key_of, phase_of
from meshlab.cluster.controllers.queue import Source
from meshlab.cluster.controllers.storage.provision import DEFAULT, PROVISIONER, claim_reference, fitting, new_volume

if TYPE_CHECKING:
    from meshlab.cluster.api.api import Api

__all__ = ["ClaimController"]

PROTECTION = "kubernetes.io/pvc-protection"
BOUND, BY = "pv.kubernetes.io/bind-completed", "volume.kubernetes.io/storage-provisioner"


class ClaimController:
    """Finds or makes a volume for every claim."""

    name = "persistentvolume-controller"

    def __init__(self, api: Api) -> None:
        self._api = api
        self._claims, self._volumes = api.kinds("PersistentVolumeClaim"), api.kinds("PersistentVolume")
        self._classes, self._pods = api.kinds("StorageClass"), api.kinds("Pod")
        self._events = Recorder(api, self.name)

    @property
    def sources(self) -> Sequence[Source]:
        return [Source("PersistentVolumeClaim", lambda _, obj: [key_of(obj)]),
                Source("PersistentVolume", lambda _, obj: self._waiting()),
                Source("StorageClass", lambda _, obj: self._waiting()), Source("Pod", self._of_pod)]

    def _waiting(self) -> Iterable[Key]:
        return [key_of(claim) for claim in self._api.list(self._claims)[0]
                if (claim.get("status") or {}).get("phase") != "Bound"]

    @staticmethod
    def _of_pod(_: str, pod: Obj) -> Iterable[Key]:
        return [(pod["metadata"]["namespace"], volume["persistentVolumeClaim"]["claimName"])
                for volume in pod["spec"].get("volumes") or [] if volume.get("persistentVolumeClaim")]

    def reconcile(self, key: Key) -> float | None:
        claim = self._api.find(self._claims, *key)
        if claim is None:
            return None
        if claim["metadata"].get("deletionTimestamp"):
            self._let_go(claim)
            return None
        if PROTECTION not in (claim["metadata"].get("finalizers") or ()):
            meta = {**claim["metadata"], "finalizers": [*(claim["metadata"].get("finalizers") or ()), PROTECTION]}
            claim = self._write({**claim, "metadata": meta})
        status = claim.get("status") or {}
        if status.get("phase") == "Bound":
            if self._api.find(self._volumes, None, claim["spec"].get("volumeName") or "") is None:
                self._event(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is "
                            "lost!", warning=True)
                self._say(claim, {**status, "phase": "Lost"})
            return None
        self._find(self._with_class(claim))
        return None

    def _with_class(self, claim: Obj) -> Obj:
        """The claim with the default class, where it does not say that it wants none."""
        if claim["spec"].get("storageClassName") is not None:
            return claim
        default = next((each["metadata"]["name"] for each in self._api.list(self._classes)[0]
                        if (each["metadata"].get("annotations") or {}).get(DEFAULT) == "true"), None)
        if default is None:
            return claim
        return self._write({**claim, "spec": {**claim["spec"], "storageClassName": default}})

    def _find(self, claim: Obj) -> None:
        volume = fitting(claim, self._api.list(self._volumes)[0])
        if volume is None and not claim["spec"].get("volumeName"):
            volume = self._provision(claim)
        if volume is not None:
            self._bind(claim, volume)

    def _provision(self, claim: Obj) -> Obj | None:
        name = claim["spec"].get("storageClassName")
        if not name:
            self._event(claim, "FailedBinding", "no persistent volumes available for this claim and no storage class "
                        "is set")
            return None
        storage_class = self._api.find(self._classes, None, name)
        if storage_class is None:
            self._event(claim, "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found', warning=True)
            return None
        if storage_class["provisioner"] != PROVISIONER:
            self._event(claim, "ExternalProvisioning", "Waiting for a volume to be created either by the external "
                        f"provisioner '{storage_class['provisioner']}' or manually by the system administrator. If "
                        "volume creation is delayed, please verify that the provisioner is running and correctly "
                        "registered.")
            return None
        described = new_volume(claim, storage_class)
        try:
            volume = self._api.create(self._volumes, None, described, user=self.name)
        except AlreadyExists:
            return self._api.find(self._volumes, None, described["metadata"]["name"])
        self._event(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {volume['metadata']['name']}")
        return volume

    def _bind(self, claim: Obj, volume: Obj) -> None:
        name = volume["metadata"]["name"]
        if (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
            self._api.update(self._volumes, None, name, {
                **volume, "spec": {**volume["spec"], "claimRef": claim_reference(claim)}}, user=self.name)
        annotations = {**(claim["metadata"].get("annotations") or {}), BOUND: "yes"}
        if provisioner := (volume["metadata"].get("annotations") or {}).get("pv.kubernetes.io/provisioned-by"):
            annotations[BY] = provisioner
        claim = self._write({**claim, "metadata": {**claim["metadata"], "annotations": annotations},
                             "spec": {**claim["spec"], "volumeName": name}})
        self._say(claim, {"phase": "Bound", "accessModes": volume["spec"]["accessModes"],
                          "capacity": volume["spec"]["capacity"]})

    def _let_go(self, claim: Obj) -> None:
        """A claim goes when no pod uses it any more."""
        namespace, name = key_of(claim)
        held = claim["metadata"].get("finalizers") or []
        used = any((namespace, name) in self._of_pod("", pod) for pod in self._api.list(self._pods, namespace)[0]
                   if phase_of(pod) not in ("Succeeded", "Failed"))
        if PROTECTION in held and not used:
            self._write({**claim, "metadata": {**claim["metadata"],
                                               "finalizers": [each for each in held if each != PROTECTION]}})

    def _write(self, claim: Obj) -> Obj:
        return self._api.update(self._claims, *key_of(claim), claim, user=self.name)

    def _say(self, claim: Obj, status: Obj) -> None:
        self._api.update(self._claims, *key_of(claim), {**claim, "status": status}, subresource="status",
                         user=self.name)

    def _event(self, claim: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.event(claim, "PersistentVolumeClaim", "v1", reason, message, warning=warning)
