// Starts Swagger UI, from our own files, on the element #swagger-ui; its data-url is the OpenAPI document.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("swagger-ui");
  SwaggerUIBundle({
    domNode: place,
    url: place.dataset.url,
    deepLinking: true,
    validatorUrl: null, // the default asks a public service
    persistAuthorization: false,
    requestInterceptor: (request) => ({ ...request, credentials: "omit" }),
  });
});
