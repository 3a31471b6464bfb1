"""The site's pages."""

from board import views
from django.urls import path

urlpatterns = [path("", views.board), path("up", views.up)]
