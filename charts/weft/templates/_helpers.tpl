{{- define "weft.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: weft
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: weft-control
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weft.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Where no webhook must ever stand in the way: the cluster's own namespaces, and ours, or nobody could repair them. */ -}}
{{- define "weft.excludedNamespaces" -}}
{{- concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq | toJson }}
{{- end }}

{{- define "weft.injector" -}}
admissionReviewVersions: [v1]
clientConfig:
  service: {name: weft-control, namespace: {{ .Release.Namespace }}, port: 443, path: /inject}
sideEffects: NoneOnDryRun
reinvocationPolicy: IfNeeded
failurePolicy: {{ .Values.webhook.injector.failurePolicy }}
timeoutSeconds: {{ .Values.webhook.injector.timeoutSeconds }}
rules:
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE]
  resources: [pods]
  scope: Namespaced
{{- end }}

{{- define "weft.validator" -}}
admissionReviewVersions: [v1]
clientConfig:
  service: {name: weft-control, namespace: {{ .Release.Namespace }}, port: 443, path: /validate}
sideEffects: None
timeoutSeconds: {{ .Values.webhook.validator.timeoutSeconds }}
namespaceSelector:
  matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ include "weft.excludedNamespaces" . }}}
{{- end }}

{{- /* The options of pods and namespaces that have none of their own, by their names without weft.dev/. */ -}}
{{- define "weft.proxyDefaults" -}}
{{- $proxy := .Values.proxy -}}
{{- $limits := $proxy.resources.limits | default dict -}}
{{- $requests := $proxy.resources.requests | default dict -}}
{{- $all := dict
  "access-log" $proxy.accessLog
  "log-level" $proxy.logLevel
  "log-format" .Values.log.format
  "proxy-cpu" ($requests.cpu | default "50m")
  "proxy-memory" ($requests.memory | default "32Mi")
  "proxy-cpu-limit" ($limits.cpu | default "none")
  "proxy-memory-limit" ($limits.memory | default "none") -}}
{{- merge (deepCopy $proxy.options) $all | toJson }}
{{- end }}
