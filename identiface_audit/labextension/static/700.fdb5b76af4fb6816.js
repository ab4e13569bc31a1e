"use strict";(self.rspackChunkidentiface_audit=self.rspackChunkidentiface_audit||[]).push([[700],{646(t,e,a){var n=a(601),i=a.n(n),r=a(314),o=(a.n(r))()(i());o.push([t.id,`.identiface-audit { overflow: auto; padding: 0 24px 24px; background: var(--jp-layout-color1, Canvas); color: var(--jp-content-font-color1, CanvasText);
  font-family: var(--jp-content-font-family, system-ui, sans-serif); font-size: var(--jp-content-font-size1, 14px); line-height: 1.5; }
.identiface-audit:focus-visible { outline: 2px solid var(--jp-brand-color1, Highlight); outline-offset: -2px; }
.identiface-audit h1 { font-size: 1.6em; margin: 16px 0 4px; }
.identiface-audit h2 { font-size: 1.2em; margin: 24px 0 8px; }
.identiface-audit :is(p, li) { max-width: 75ch; }
.identiface-audit :is(h1, h2, dd, p, li, td, th) { overflow-wrap: anywhere; }
.identiface-audit ul { padding-left: 20px; margin: 0 0 12px; }
.identiface-audit dl { display: flex; flex-wrap: wrap; gap: 8px 24px; margin: 0; }
.identiface-audit dt { color: var(--jp-content-font-color2, GrayText); }
.identiface-audit dd { margin: 0; font-variant-numeric: tabular-nums; }
.identiface-audit section dd { font-weight: 600; }
.identiface-audit details { margin: 12px 0; }
.identiface-audit details :is(dl, .ifa-table, pre) { margin: 8px 0 0 16px; }
.identiface-audit details dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
.identiface-audit details dl > div { display: contents; }
.identiface-audit summary { cursor: pointer; }
.identiface-audit summary::first-letter { text-transform: uppercase; }
.identiface-audit pre { white-space: pre-wrap; font-family: var(--jp-code-font-family, monospace); }
.ifa-line { margin-top: 24px; }
.ifa-table { overflow-x: auto; }
.ifa-table table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.ifa-table caption { text-align: left; color: var(--jp-content-font-color2, GrayText); padding-bottom: 4px; }
.ifa-table :is(th, td) { text-align: left; vertical-align: top; padding: 4px 16px 4px 0; border-bottom: 1px solid var(--jp-border-color2, GrayText); }
.ifa-table tbody th { font-weight: 600; white-space: nowrap; }
.ifa-table th button { all: unset; cursor: pointer; font-weight: 600; }
.ifa-table th button:focus-visible { outline: 2px solid var(--jp-brand-color1, Highlight); outline-offset: 2px; }
.ifa-table th button::after { content: " ↕"; color: var(--jp-content-font-color3, GrayText); font-weight: 400; }
.ifa-table th[aria-sort="ascending"] button::after { content: " ↑"; }
.ifa-table th[aria-sort="descending"] button::after { content: " ↓"; }
.ifa-bar { display: block; width: 110px; height: 14px; }
.ifa-axis { stroke: var(--jp-border-color1, GrayText); }
.ifa-interval { stroke: var(--jp-brand-color1, Highlight); stroke-width: 2.5; }
.ifa-value { fill: var(--jp-content-font-color1, CanvasText); }
`,""]),a.d(e,{},{A:o})},314(t){t.exports=function(t){var e=[];return e.toString=function(){return this.map(function(e){var a="",n=void 0!==e[5];return e[4]&&(a+="@supports (".concat(e[4],") {")),e[2]&&(a+="@media ".concat(e[2]," {")),n&&(a+="@layer".concat(e[5].length>0?" ".concat(e[5]):""," {")),a+=t(e),n&&(a+="}"),e[2]&&(a+="}"),e[4]&&(a+="}"),a}).join("")},e.i=function(t,a,n,i,r){"string"==typeof t&&(t=[[null,t,void 0]]);var o={};if(n)for(var c=0;c<this.length;c++){var s=this[c][0];null!=s&&(o[s]=!0)}for(var l=0;l<t.length;l++){var d=[].concat(t[l]);n&&o[d[0]]||(void 0!==r&&(void 0===d[5]||(d[1]="@layer".concat(d[5].length>0?" ".concat(d[5]):""," {").concat(d[1],"}")),d[5]=r),a&&(d[2]&&(d[1]="@media ".concat(d[2]," {").concat(d[1],"}")),d[2]=a),i&&(d[4]?(d[1]="@supports (".concat(d[4],") {").concat(d[1],"}"),d[4]=i):d[4]="".concat(i)),e.push(d))}},e}},601(t){t.exports=function(t){return t[1]}},72(t){var e=[];function a(t){for(var a=-1,n=0;n<e.length;n++)if(e[n].identifier===t){a=n;break}return a}function n(t,n){for(var i={},r=[],o=0;o<t.length;o++){var c=t[o],s=n.base?c[0]+n.base:c[0],l=i[s]||0,d="".concat(s," ").concat(l);i[s]=l+1;var p=a(d),f={css:c[1],media:c[2],sourceMap:c[3],supports:c[4],layer:c[5]};if(-1!==p)e[p].references++,e[p].updater(f);else{var u=function(t,e){var a=e.domAPI(e);return a.update(t),function(e){e?(e.css!==t.css||e.media!==t.media||e.sourceMap!==t.sourceMap||e.supports!==t.supports||e.layer!==t.layer)&&a.update(t=e):a.remove()}}(f,n);n.byIndex=o,e.splice(o,0,{identifier:d,updater:u,references:1})}r.push(d)}return r}t.exports=function(t,i){var r=n(t=t||[],i=i||{});return function(t){t=t||[];for(var o=0;o<r.length;o++){var c=a(r[o]);e[c].references--}for(var s=n(t,i),l=0;l<r.length;l++){var d=a(r[l]);0===e[d].references&&(e[d].updater(),e.splice(d,1))}r=s}}},659(t){var e={};t.exports=function(t,a){var n=function(t){if(void 0===e[t]){var a=document.querySelector(t);if(window.HTMLIFrameElement&&a instanceof window.HTMLIFrameElement)try{a=a.contentDocument.head}catch(t){a=null}e[t]=a}return e[t]}(t);if(!n)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");n.appendChild(a)}},540(t){t.exports=function(t){var e=document.createElement("style");return t.setAttributes(e,t.attributes),t.insert(e,t.options),e}},56(t,e,a){t.exports=function(t){var e=a.nc;e&&t.setAttribute("nonce",e)}},825(t){t.exports=function(t){if("u"<typeof document)return{update:function(){},remove:function(){}};var e=t.insertStyleElement(t);return{update:function(a){var n,i,r;n="",a.supports&&(n+="@supports (".concat(a.supports,") {")),a.media&&(n+="@media ".concat(a.media," {")),(i=void 0!==a.layer)&&(n+="@layer".concat(a.layer.length>0?" ".concat(a.layer):""," {")),n+=a.css,i&&(n+="}"),a.media&&(n+="}"),a.supports&&(n+="}"),(r=a.sourceMap)&&"u">typeof btoa&&(n+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(r))))," */")),t.styleTagTransform(n,e,t.options)},remove:function(){var t;null===(t=e).parentNode||t.parentNode.removeChild(t)}}}},113(t){t.exports=function(t,e){if(e.styleSheet)e.styleSheet.cssText=t;else{for(;e.firstChild;)e.removeChild(e.firstChild);e.appendChild(document.createTextNode(t))}}},959(t,e,a){var n=a(72),i=a.n(n),r=a(825),o=a.n(r),c=a(659),s=a.n(c),l=a(56),d=a.n(l),p=a(540),f=a.n(p),u=a(113),v=a.n(u),h=a(646),m={};m.styleTagTransform=v(),m.setAttributes=d(),m.insert=s().bind(null,"head"),m.domAPI=o(),m.insertStyleElement=f(),i()(h.A,m),h.A&&h.A.locals&&h.A.locals}}]);