// A face with its lips marked, as the audit marks a region. The class jp-icon3 takes the theme's colour.
export const icon = {
  name: 'identiface-audit:face',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path fill-rule="evenodd" d="M12 2c5 0 7.5 3.5 7.5 8.5S16 22 12 22 4.5 15.5 4.5 10.5 7 2 12 2zm0 1.8c-3.9 0-5.7 2.7-5.7 6.7 0 4.3 2.9 9.7 5.7 9.7s5.7-5.4 5.7-9.7c0-4-1.8-6.7-5.7-6.7z"/>
    <circle cx="9.4" cy="9.8" r="1.3"/><circle cx="14.6" cy="9.8" r="1.3"/>
  </g>
  <rect x="8.8" y="13.8" width="6.4" height="3.2" rx=".6" fill="#f37726"/>
</svg>`
};
