// Package routes maps requests to actions and resources by routes from a configuration.
//
// A gateway runs requests by such routes, as operations (package gateway). A [Decider] only decides
// about them, for proxies that ask before they send a request on (packages forwardauth and
// extauthz).
package routes
